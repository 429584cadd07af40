output "aragora_environment" {
  description = "The environment of the services, with the password in it."
  sensitive   = true
  # The password is no part of the URL, where some of its characters would need escaping.
  value = tomap(merge(
    {
      ARAGORA_REDIS_MODE     = "standalone"
      ARAGORA_REDIS_URL      = local.redis_url
      ARAGORA_REDIS_PASSWORD = var.redis_auth_token
      ARAGORA_KEY_PREFIX     = var.key_prefix
    },
    { for user in aws_elasticache_user.aragora : "ARAGORA_REDIS_USERNAME" => user.user_name },
  ))
}

output "redis_url" {
  description = "The primary's address, without credentials."
  value       = local.redis_url
}

locals {
  # This name follows the primary through a failover; a node's own would lead to a replica.
  redis_url = "rediss://${aws_elasticache_replication_group.aragora.primary_endpoint_address}:${aws_elasticache_replication_group.aragora.port}"
}
