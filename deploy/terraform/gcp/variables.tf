variable "name" {
  description = "Name of the instance, and the first part of all other names."
  type        = string
  default     = "aragora-redis"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{2,38}[a-z0-9])$", var.name))
    error_message = "Take 4 to 40 lower-case letters, digits and hyphens, a letter first and no hyphen last."
  }
}

variable "project_id" {
  description = "The project in which the instance is."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "Give the id of a project, not its name or number."
  }
}

variable "region" {
  description = "The region in which the instance is."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "Give a region such as us-central1; the zones are chosen in it."
  }
}

variable "environment" {
  description = "Value of the label environment."
  type        = string
  default     = "production"

  validation {
    condition     = can(regex("^[a-z0-9_-]{1,63}$", var.environment))
    error_message = "A label takes lower-case letters, digits, _ and -"
  }
}

variable "network_id" {
  description = "The VPC of the services."
  type        = string

  validation {
    condition     = can(regex("^projects/[^/]+/global/networks/[^/]+$", var.network_id))
    error_message = "Write projects/PROJECT/global/networks/NAME, as google_compute_network has it in id."
  }
}

variable "product" {
  description = "redis: Memorystore for Redis with AUTH, as the guide has it. valkey: Memorystore for Valkey with IAM."
  type        = string
  default     = "redis"

  validation {
    condition     = contains(["redis", "valkey"], var.product)
    error_message = "The product is redis or valkey."
  }
}

variable "memory_size_gb" {
  description = "Memory of Memorystore for Redis. Nothing is evicted, so what does not fit is refused."
  type        = number
  default     = 1

  validation {
    condition     = var.memory_size_gb >= 1 && var.memory_size_gb <= 300 && floor(var.memory_size_gb) == var.memory_size_gb
    error_message = "Take a whole number from 1 to 300."
  }
}

variable "redis_version" {
  description = "Version of Memorystore for Redis."
  type        = string
  default     = "REDIS_7_0"

  validation {
    condition     = can(regex("^REDIS_7_[0-9]$", var.redis_version))
    error_message = "Take REDIS_7_0 or later: aragora-redis needs Redis 6.2, which REDIS_6_X need not be."
  }
}

variable "psa_range_name" {
  description = "An allocated range that Private Services Access uses already in this VPC; without one, a range and the peering are made."
  type        = string
  default     = null

  validation {
    condition     = var.psa_range_name == null || can(regex("^[a-z][a-z0-9-]{0,61}[a-z0-9]$", var.psa_range_name))
    error_message = "Give the range's name, not its addresses."
  }
}

variable "valkey_version" {
  description = "Version of Memorystore for Valkey."
  type        = string
  default     = "VALKEY_8_0"

  validation {
    condition     = can(regex("^VALKEY_([89]|[1-9][0-9])_[0-9]$", var.valkey_version))
    error_message = "aragora-redis needs Valkey 8 or later: VALKEY_8_0."
  }
}

variable "valkey_node_type" {
  description = "Size of each node of Memorystore for Valkey. Google promises nothing for SHARED_CORE_NANO."
  type        = string
  default     = "STANDARD_SMALL"

  validation {
    condition     = contains(["SHARED_CORE_NANO", "STANDARD_SMALL", "HIGHMEM_MEDIUM", "HIGHMEM_XLARGE"], var.valkey_node_type)
    error_message = "Take SHARED_CORE_NANO, STANDARD_SMALL, HIGHMEM_MEDIUM or HIGHMEM_XLARGE."
  }
}

variable "valkey_subnetwork_id" {
  description = "The subnetwork in which Memorystore for Valkey gets its addresses."
  type        = string
  default     = null

  validation {
    condition     = var.valkey_subnetwork_id == null ? var.product != "valkey" : can(regex("^projects/[^/]+/regions/[^/]+/subnetworks/[^/]+$", var.valkey_subnetwork_id))
    error_message = "Valkey needs projects/PROJECT/regions/REGION/subnetworks/NAME, as google_compute_subnetwork has it in id."
  }
}

variable "maintenance_day" {
  description = "Day of the hour in which Google may patch and fail over, in UTC."
  type        = string
  default     = "SUNDAY"

  validation {
    condition     = contains(["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"], var.maintenance_day)
    error_message = "Write the day in capitals: SUNDAY."
  }
}

variable "maintenance_hour" {
  description = "The hour itself, in UTC."
  type        = number
  default     = 5

  validation {
    condition     = var.maintenance_hour >= 0 && var.maintenance_hour <= 23 && floor(var.maintenance_hour) == var.maintenance_hour
    error_message = "Take a whole hour from 0 to 23."
  }
}

variable "tls_ca_path" {
  description = "Where the services find what the output server_ca_pem holds."
  type        = string
  default     = "/etc/aragora/redis-ca.pem"

  validation {
    condition     = startswith(var.tls_ca_path, "/")
    error_message = "Give an absolute path."
  }
}

variable "iam_token_path" {
  description = "Where the services of Memorystore for Valkey find a current access token."
  type        = string
  default     = "/run/aragora/redis-token"

  validation {
    condition     = startswith(var.iam_token_path, "/")
    error_message = "Give an absolute path."
  }
}
