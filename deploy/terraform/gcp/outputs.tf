output "aragora_environment" {
  description = "The environment of the services, with the password in it, or the path of the token."
  sensitive   = true
  value = tomap(merge(
    {
      ARAGORA_REDIS_MODE   = "standalone"
      ARAGORA_REDIS_URL    = local.redis_url
      ARAGORA_REDIS_TLS_CA = var.tls_ca_path
      # We connect to an address, which the certificate need not name. The authority signs for this
      # instance alone, so whoever has a certificate of it is this instance.
      ARAGORA_REDIS_TLS_VERIFY = "ca"
    },
    { for redis in google_redis_instance.aragora : "ARAGORA_REDIS_PASSWORD" => redis.auth_string },
    # IAM's tokens last an hour; the file is read at each connection.
    local.valkey ? { ARAGORA_REDIS_PASSWORD_FILE = var.iam_token_path } : {},
  ))
}

output "redis_url" {
  description = "The primary's address, without credentials."
  value       = local.redis_url
}

output "server_ca_pem" {
  description = "The authorities that sign for the server: write them to tls_ca_path. A new one comes years before the old ends."
  value = join("\n", concat(
    flatten(google_redis_instance.aragora[*].server_ca_certs[*].cert),
    flatten(google_memorystore_instance.aragora[*].managed_server_ca[*].ca_certs[*].certificates),
  ))
}

locals {
  # Both addresses stay through a failover. Valkey has a second one, which leads to its replica.
  primaries = concat(
    [for redis in google_redis_instance.aragora : "${redis.host}:${redis.port}"],
    [
      for connection in flatten(google_memorystore_instance.aragora[*].endpoints[*].connections[*].psc_auto_connection) :
      "${connection.ip_address}:${connection.port}" if connection.connection_type == "CONNECTION_TYPE_PRIMARY"
    ],
  )
  redis_url = "rediss://${one(local.primaries)}"
}
