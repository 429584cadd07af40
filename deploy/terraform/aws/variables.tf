variable "name" {
  description = "Name of the replication group, and the first part of all other names."
  type        = string
  default     = "aragora-redis"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9]|-[a-z0-9]){0,31}$", var.name))
    error_message = "Take 1 to 32 lower-case letters, digits and single hyphens, a letter first and no hyphen last."
  }
}

variable "environment" {
  description = "Value of the tag Environment."
  type        = string
  default     = "production"

  validation {
    condition     = length(var.environment) > 0
    error_message = "Name the environment, such as production."
  }
}

variable "tags" {
  description = "More tags, beside Environment and Service."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.tags), ["Environment", "Service"])) == 0
    error_message = "Environment and Service are set already: use the variable environment, and leave Service."
  }
}

variable "vpc_id" {
  description = "The VPC in which the nodes are."
  type        = string

  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "Give the id of a VPC: vpc-..."
  }
}

variable "subnet_ids" {
  description = "Private subnets of that VPC in at least two zones, so that the replica is not where the primary is."
  type        = list(string)

  validation {
    condition     = length(distinct(var.subnet_ids)) >= 2
    error_message = "Give at least two subnets, each in another zone: Multi-AZ cannot place a replica otherwise."
  }
}

variable "client_security_group_ids" {
  description = "Who may connect: the security groups of the services, each under a name of your own."
  type        = map(string)

  validation {
    condition     = length(var.client_security_group_ids) > 0
    error_message = "Name at least one security group, or nothing can reach Redis."
  }
}

variable "engine" {
  description = "valkey, or redis, which ElastiCache offers up to 7.1."
  type        = string
  default     = "valkey"

  validation {
    condition     = contains(["valkey", "redis"], var.engine)
    error_message = "The engine is valkey or redis."
  }
}

variable "engine_version" {
  description = "MAJOR.MINOR of the engine; by default valkey 8.0, redis 7.1."
  type        = string
  default     = null

  validation {
    condition = var.engine_version == null || can(regex(
      var.engine == "valkey" ? "^([89]|[1-9][0-9])\\.[0-9]+$" : "^(6\\.2|7\\.[0-9]+)$", var.engine_version
    ))
    error_message = "aragora-redis needs Valkey 8.0 or later, or Redis 6.2 or later; write MAJOR.MINOR."
  }
}

variable "node_type" {
  description = "Size of each node. Nothing is evicted, so what does not fit is refused."
  type        = string
  default     = "cache.t3.micro"

  validation {
    condition     = can(regex("^cache\\.[a-z0-9-]+\\.[a-z0-9]+$", var.node_type)) && !can(regex("^cache\\.t[12]\\.", var.node_type))
    error_message = "Give a node type such as cache.t3.micro; t1 and t2 have no automatic failover."
  }
}

variable "num_cache_clusters" {
  description = "The primary and its replicas."
  type        = number
  default     = 2

  validation {
    condition     = var.num_cache_clusters >= 2 && var.num_cache_clusters <= 6 && floor(var.num_cache_clusters) == var.num_cache_clusters
    error_message = "Take 2 to 6: with less there is nothing to fail over to."
  }
}

variable "access" {
  description = "auth: one token for all, as the guide has it. rbac: an ACL user that may touch key_prefix only."
  type        = string
  default     = "auth"

  validation {
    condition     = contains(["auth", "rbac"], var.access)
    error_message = "access is auth or rbac."
  }
}

variable "redis_auth_token" {
  description = "The AUTH token, or with rbac the user's password. Terraform keeps it in its state."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9!&#$^<>-]{16,128}$", var.redis_auth_token))
    error_message = "ElastiCache takes 16 to 128 characters: letters, digits and ! & # $ ^ < > -"
  }
}

variable "key_prefix" {
  description = "ARAGORA_KEY_PREFIX of the services."
  type        = string
  default     = "aragora"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,32}$", var.key_prefix))
    error_message = "Take 1 to 32 letters, digits, _, . or -"
  }
}

variable "snapshot_retention_limit" {
  description = "Days that a snapshot is kept."
  type        = number
  default     = 7

  validation {
    condition     = var.snapshot_retention_limit >= 1 && var.snapshot_retention_limit <= 35
    error_message = "Take 1 to 35 days; 0 would take no snapshots."
  }
}

variable "snapshot_window" {
  description = "When the daily snapshot is taken, in UTC."
  type        = string
  # The guide's 05:00-09:00 lies within its own maintenance window, which the API refuses.
  default = "03:00-05:00"

  validation {
    condition     = can(regex("^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$", var.snapshot_window))
    error_message = "Write hh:mm-hh:mm, in UTC."
  }
}

variable "maintenance_window" {
  description = "When AWS may patch and fail over, in UTC."
  type        = string
  default     = "sun:05:00-sun:09:00"

  validation {
    condition     = can(regex("^(mon|tue|wed|thu|fri|sat|sun):([01][0-9]|2[0-3]):[0-5][0-9]-(mon|tue|wed|thu|fri|sat|sun):([01][0-9]|2[0-3]):[0-5][0-9]$", var.maintenance_window))
    error_message = "Write ddd:hh:mm-ddd:hh:mm, in UTC, such as sun:05:00-sun:09:00."
  }
}
