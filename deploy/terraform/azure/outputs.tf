output "aragora_environment" {
  description = "The environment of the services, with the password in it."
  sensitive   = true
  # Keys are base64, whose characters would need escaping in a URL.
  value = tomap({
    ARAGORA_REDIS_MODE     = "standalone"
    ARAGORA_REDIS_URL      = local.redis_url
    ARAGORA_REDIS_PASSWORD = one(concat(local.databases[*].primary_access_key, azurerm_redis_cache.aragora[*].primary_access_key))
  })
}

output "redis_url" {
  description = "The address of the proxy or load balancer before the primary, without credentials."
  value       = local.redis_url
}

locals {
  databases = flatten(azurerm_managed_redis.aragora[*].default_database)
  # Within the network this name leads to the private address; the certificate is for it.
  redis_url = one(concat(
    [for redis in azurerm_managed_redis.aragora : "rediss://${redis.hostname}:${redis.default_database[0].port}"],
    [for redis in azurerm_redis_cache.aragora : "rediss://${redis.hostname}:${redis.ssl_port}"],
  ))
}
