variable "name" {
  description = "Name of the instance, unique in its region, and the first part of all other names."
  type        = string
  default     = "aragora-redis"

  validation {
    condition     = can(regex("^[a-z0-9](-?[a-z0-9]){0,39}$", var.name))
    error_message = "Take lower-case letters, digits and single hyphens, none at either end, at most 40 of the former."
  }
}

variable "resource_group_name" {
  description = "The resource group in which everything is."
  type        = string

  validation {
    condition     = length(var.resource_group_name) > 0
    error_message = "Name a resource group that exists."
  }
}

variable "location" {
  description = "A region with availability zones, in its short form."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+[0-9]?$", var.location))
    error_message = "Write the region in its short form, such as eastus."
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

variable "virtual_network_id" {
  description = "The network of the services, in which the instance's name is to lead to its private address."
  type        = string

  validation {
    condition     = can(regex("/virtualNetworks/[^/]+$", var.virtual_network_id))
    error_message = "Give the whole id, /subscriptions/.../virtualNetworks/NAME"
  }
}

variable "subnet_id" {
  description = "The subnet in which the instance gets its private address."
  type        = string

  validation {
    condition     = can(regex("/virtualNetworks/[^/]+/subnets/[^/]+$", var.subnet_id))
    error_message = "Give the whole id, /subscriptions/.../virtualNetworks/NAME/subnets/NAME"
  }
}

variable "product" {
  description = "managed: Azure Managed Redis. premium: Azure Cache for Redis, for those who still have it; it ends on 2028-09-30."
  type        = string
  default     = "managed"

  validation {
    condition     = contains(["managed", "premium"], var.product)
    error_message = "The product is managed or premium."
  }
}

variable "sku_name" {
  description = "Size of Azure Managed Redis. Nothing is evicted, so what does not fit is refused."
  type        = string
  default     = "Balanced_B1"

  validation {
    condition     = can(regex("^(Balanced_B([0135]|10|20)|MemoryOptimized_M(10|20)|ComputeOptimized_X([35]|10|20))$", var.sku_name))
    error_message = "Take Balanced_B0 to B20, MemoryOptimized_M10 or M20, ComputeOptimized_X3 to X20: what is larger than 25 GB must be clustered, and aragora-redis knows no Redis Cluster yet."
  }
}

variable "premium_capacity" {
  description = "Size of the Premium cache: 1 is 6 GB, each next one twice that."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2, 3, 4, 5], var.premium_capacity)
    error_message = "Take 1 to 5."
  }
}

variable "premium_zones" {
  description = "Zones over which the Premium cache is spread. Azure Managed Redis spreads itself."
  type        = list(string)
  default     = ["1", "2", "3"]

  validation {
    condition     = length(distinct(var.premium_zones)) >= 2 && length(setsubtract(var.premium_zones, ["1", "2", "3"])) == 0
    error_message = "Take at least two of the zones 1, 2 and 3, or the replica is lost with the primary."
  }
}

variable "premium_geo_secondary" {
  description = "A Premium cache in another region that follows this one: for disasters, not for failover."
  type = object({
    id       = string
    location = string
  })
  default = null

  validation {
    condition     = var.premium_geo_secondary == null || var.product == "premium"
    error_message = "Only Premium caches are linked here; README.md says why Azure Managed Redis is not."
  }
  validation {
    condition     = try(var.premium_geo_secondary.location != var.location, true)
    error_message = "The second cache must be in another region."
  }
}
