locals {
  managed = var.product == "managed"
  premium = var.product == "premium"

  tags = {
    Environment = var.environment
    Service     = "aragora"
  }
}

data "azurerm_location" "aragora" {
  location = var.location

  lifecycle {
    # Azure Managed Redis takes no zones: where a region has none, it silently does without.
    postcondition {
      condition     = length(self.zone_mappings) >= 2
      error_message = "This region has no availability zones, so a primary and its replica may fail together: take another."
    }
  }
}

resource "azurerm_managed_redis" "aragora" {
  count = local.managed ? 1 : 0

  name                = var.name
  resource_group_name = var.resource_group_name
  location            = data.azurerm_location.aragora.location
  sku_name            = var.sku_name
  tags                = local.tags

  # Two nodes, in different zones.
  high_availability_enabled = true
  public_network_access     = "Disabled"

  default_database {
    client_protocol                    = "Encrypted"
    access_keys_authentication_enabled = true

    # OSSCluster, the default, is Redis Cluster; EnterpriseCluster refuses scripts across slots.
    clustering_policy = "NoCluster"

    # VolatileLRU, the default, evicts what expires: all revocations and sessions.
    eviction_policy = "NoEviction"

    # What both nodes lose together is a second of revocations, where hourly dumps would lose an hour.
    persistence_append_only_file_backup_frequency = "1s"
  }

  lifecycle {
    postcondition {
      condition     = self.default_database[0].port == 10000
      error_message = "Azure Managed Redis listens on port 10000, and firewalls rely on that."
    }
  }
}

# The guide's choice. No new ones should be made, the product is being retired: import what there is.
resource "azurerm_redis_cache" "aragora" {
  count = local.premium ? 1 : 0

  name                = var.name
  resource_group_name = var.resource_group_name
  location            = data.azurerm_location.aragora.location
  sku_name            = "Premium"
  family              = "P"
  capacity            = var.premium_capacity
  tags                = local.tags

  # This is its high availability; the guide's geo-replication is none, see below.
  zones = var.premium_zones

  non_ssl_port_enabled               = false
  minimum_tls_version                = "1.2"
  access_keys_authentication_enabled = true
  public_network_access_enabled      = false

  redis_configuration {
    authentication_enabled = true
    maxmemory_policy       = "noeviction"
  }

  patch_schedule {
    day_of_week    = "Sunday"
    start_hour_utc = 5
  }
}

# The guide takes this for high availability. It is a copy for disasters: asynchronous, read only,
# under another name, and nothing but an operator who unlinks it makes it a primary.
resource "azurerm_redis_linked_server" "aragora" {
  count = var.premium_geo_secondary == null ? 0 : 1

  target_redis_cache_name     = azurerm_redis_cache.aragora[0].name
  resource_group_name         = azurerm_redis_cache.aragora[0].resource_group_name
  linked_redis_cache_id       = var.premium_geo_secondary.id
  linked_redis_cache_location = var.premium_geo_secondary.location
  server_role                 = "Secondary"
}

resource "azurerm_private_dns_zone" "aragora" {
  name                = local.managed ? "privatelink.redis.azure.net" : "privatelink.redis.cache.windows.net"
  resource_group_name = var.resource_group_name
  tags                = local.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "aragora" {
  name                  = var.name
  resource_group_name   = var.resource_group_name
  private_dns_zone_name = azurerm_private_dns_zone.aragora.name
  virtual_network_id    = var.virtual_network_id
  tags                  = local.tags
}

resource "azurerm_private_endpoint" "aragora" {
  name                = var.name
  resource_group_name = var.resource_group_name
  location            = data.azurerm_location.aragora.location
  subnet_id           = var.subnet_id
  tags                = local.tags

  private_service_connection {
    name                           = var.name
    private_connection_resource_id = one(concat(azurerm_managed_redis.aragora[*].id, azurerm_redis_cache.aragora[*].id))
    subresource_names              = [local.managed ? "redisEnterprise" : "redisCache"]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = "redis"
    private_dns_zone_ids = [azurerm_private_dns_zone.aragora.id]
  }
}
