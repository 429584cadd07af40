mock_provider "azurerm" {
  mock_data "azurerm_location" {
    defaults = {
      location = "eastus"
      zone_mappings = [
        { logical_zone = "1", physical_zone = "eastus-az1" },
        { logical_zone = "2", physical_zone = "eastus-az3" },
      ]
    }
  }
  mock_resource "azurerm_managed_redis" {
    defaults = {
      hostname = "aragora-redis.eastus.redis.azure.net"
      default_database = {
        port               = 10000
        primary_access_key = "q2hhcmFjdGVycy+uZWVkL2VzY2FwaW5n="
      }
    }
  }
  mock_resource "azurerm_redis_cache" {
    defaults = {
      hostname           = "aragora-redis.redis.cache.windows.net"
      ssl_port           = 6380
      primary_access_key = "q2hhcmFjdGVycy+uZWVkL2VzY2FwaW5n="
    }
  }
}

variables {
  resource_group_name = "aragora"
  location            = "eastus"
  virtual_network_id  = "/subscriptions/0/resourceGroups/aragora/providers/Microsoft.Network/virtualNetworks/vnet"
  subnet_id           = "/subscriptions/0/resourceGroups/aragora/providers/Microsoft.Network/virtualNetworks/vnet/subnets/redis"
}

run "managed" {
  assert {
    condition     = azurerm_managed_redis.aragora[0].high_availability_enabled && length(azurerm_redis_cache.aragora) == 0
    error_message = "There is nothing to fail over to, or there are two products."
  }
  assert {
    condition = (
      azurerm_managed_redis.aragora[0].default_database[0].client_protocol == "Encrypted"
      && azurerm_managed_redis.aragora[0].default_database[0].access_keys_authentication_enabled
      && azurerm_managed_redis.aragora[0].public_network_access == "Disabled"
    )
    error_message = "The wire or the door is open."
  }
  assert {
    condition     = azurerm_managed_redis.aragora[0].default_database[0].eviction_policy == "NoEviction"
    error_message = "Revocations could be evicted."
  }
  assert {
    condition     = azurerm_managed_redis.aragora[0].default_database[0].clustering_policy == "NoCluster"
    error_message = "Scripts that touch two slots would be refused."
  }
  assert {
    condition = output.aragora_environment == tomap({
      ARAGORA_REDIS_MODE     = "standalone"
      ARAGORA_REDIS_URL      = "rediss://aragora-redis.eastus.redis.azure.net:10000"
      ARAGORA_REDIS_PASSWORD = "q2hhcmFjdGVycy+uZWVkL2VzY2FwaW5n="
    })
    error_message = "The environment is another."
  }
  assert {
    condition     = azurerm_private_endpoint.aragora.private_service_connection[0].subresource_names == tolist(["redisEnterprise"])
    error_message = "The private endpoint leads to another product."
  }
}

run "premium" {
  variables {
    product = "premium"
  }
  assert {
    condition     = azurerm_redis_cache.aragora[0].zones == toset(["1", "2", "3"]) && length(azurerm_redis_linked_server.aragora) == 0
    error_message = "It is in one zone, or linked without being asked."
  }
  assert {
    condition = (
      !azurerm_redis_cache.aragora[0].non_ssl_port_enabled
      && azurerm_redis_cache.aragora[0].redis_configuration[0].authentication_enabled
      && !azurerm_redis_cache.aragora[0].public_network_access_enabled
    )
    error_message = "The wire or the door is open."
  }
  assert {
    condition     = azurerm_redis_cache.aragora[0].redis_configuration[0].maxmemory_policy == "noeviction"
    error_message = "Revocations could be evicted."
  }
  assert {
    condition = output.aragora_environment == tomap({
      ARAGORA_REDIS_MODE     = "standalone"
      ARAGORA_REDIS_URL      = "rediss://aragora-redis.redis.cache.windows.net:6380"
      ARAGORA_REDIS_PASSWORD = "q2hhcmFjdGVycy+uZWVkL2VzY2FwaW5n="
    })
    error_message = "The environment is another."
  }
}

run "premium_with_a_copy_for_disasters" {
  variables {
    product               = "premium"
    premium_geo_secondary = { id = "/subscriptions/0/redis/west", location = "westus2" }
  }
  assert {
    condition     = azurerm_redis_linked_server.aragora[0].server_role == "Secondary"
    error_message = "The copy would be the primary."
  }
}

run "a_copy_of_managed" {
  command = plan
  variables {
    premium_geo_secondary = { id = "/subscriptions/0/redis/west", location = "westus2" }
  }
  expect_failures = [var.premium_geo_secondary]
}

run "a_copy_in_the_same_region" {
  command = plan
  variables {
    product               = "premium"
    premium_geo_secondary = { id = "/subscriptions/0/redis/east", location = "eastus" }
  }
  expect_failures = [var.premium_geo_secondary]
}

run "a_region_without_zones" {
  command = plan
  override_data {
    target = data.azurerm_location.aragora
    values = { zone_mappings = [] }
  }
  expect_failures = [data.azurerm_location.aragora]
}

run "what_is_refused" {
  command = plan
  variables {
    name                = "aragora--redis"
    resource_group_name = ""
    location            = "East US"
    environment         = ""
    virtual_network_id  = "vnet"
    subnet_id           = "redis"
    product             = "enterprise"
    sku_name            = "Balanced_B50"
    premium_capacity    = 6
    premium_zones       = ["1"]
  }
  expect_failures = [
    var.name, var.resource_group_name, var.location, var.environment, var.virtual_network_id,
    var.subnet_id, var.product, var.sku_name, var.premium_capacity, var.premium_zones,
  ]
}
