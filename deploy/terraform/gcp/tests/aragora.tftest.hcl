mock_provider "google" {
  mock_resource "google_redis_instance" {
    defaults = {
      host            = "10.0.0.3"
      port            = 6378
      auth_string     = "0b1f8f4c-9d1e-4b7a-8f7e-1d2c3b4a5968"
      server_ca_certs = [{ cert = "first" }, { cert = "second" }]
    }
  }
  mock_resource "google_memorystore_instance" {
    defaults = {
      managed_server_ca = [{ ca_certs = [{ certificates = ["leaf", "root"] }] }]
      endpoints = [{
        connections = [
          { psc_auto_connection = [{ connection_type = "CONNECTION_TYPE_READER", ip_address = "10.0.0.5", port = 6379 }] },
          { psc_auto_connection = [{ connection_type = "CONNECTION_TYPE_PRIMARY", ip_address = "10.0.0.4", port = 6379 }] },
        ]
      }]
    }
  }
}

variables {
  project_id = "aragora-prod"
  network_id = "projects/aragora-prod/global/networks/vpc"
}

run "the_guide" {
  assert {
    condition = (
      google_redis_instance.aragora[0].tier == "STANDARD_HA"
      && google_redis_instance.aragora[0].connect_mode == "PRIVATE_SERVICE_ACCESS"
      && google_redis_instance.aragora[0].persistence_config[0].rdb_snapshot_period == "TWELVE_HOURS"
    )
    error_message = "It is not the guide's instance."
  }
  assert {
    condition = (
      google_redis_instance.aragora[0].auth_enabled
      && google_redis_instance.aragora[0].transit_encryption_mode == "SERVER_AUTHENTICATION"
    )
    error_message = "The wire or the door is open."
  }
  assert {
    condition     = google_redis_instance.aragora[0].redis_configs["maxmemory-policy"] == "noeviction"
    error_message = "Revocations could be evicted."
  }
  assert {
    condition     = google_redis_instance.aragora[0].reserved_ip_range == "aragora-redis-psa" && length(google_service_networking_connection.aragora) == 1
    error_message = "The VPC has no peering."
  }
  assert {
    condition     = length(google_memorystore_instance.aragora) == 0
    error_message = "There are two products."
  }
  assert {
    condition = output.aragora_environment == tomap({
      ARAGORA_REDIS_MODE       = "standalone"
      ARAGORA_REDIS_URL        = "rediss://10.0.0.3:6378"
      ARAGORA_REDIS_PASSWORD   = "0b1f8f4c-9d1e-4b7a-8f7e-1d2c3b4a5968"
      ARAGORA_REDIS_TLS_CA     = "/etc/aragora/redis-ca.pem"
      ARAGORA_REDIS_TLS_VERIFY = "ca"
    })
    error_message = "The environment is another."
  }
  assert {
    condition     = output.server_ca_pem == "first\nsecond"
    error_message = "An authority is missing, so its rotation would end all connections."
  }
}

run "an_existing_peering" {
  variables {
    psa_range_name = "google-managed-services"
  }
  assert {
    condition     = length(google_service_networking_connection.aragora) == 0 && google_redis_instance.aragora[0].reserved_ip_range == "google-managed-services"
    error_message = "The peering of others would be replaced."
  }
}

run "valkey" {
  variables {
    product              = "valkey"
    valkey_subnetwork_id = "projects/aragora-prod/regions/us-central1/subnetworks/services"
  }
  assert {
    condition = (
      google_memorystore_instance.aragora[0].replica_count == 1
      && google_memorystore_instance.aragora[0].mode == "CLUSTER_DISABLED"
      && google_memorystore_instance.aragora[0].zone_distribution_config[0].mode == "MULTI_ZONE"
    )
    error_message = "There is nothing to fail over to."
  }
  assert {
    condition = (
      google_memorystore_instance.aragora[0].authorization_mode == "IAM_AUTH"
      && google_memorystore_instance.aragora[0].transit_encryption_mode == "SERVER_AUTHENTICATION"
    )
    error_message = "The wire or the door is open."
  }
  assert {
    condition     = google_memorystore_instance.aragora[0].engine_configs["maxmemory-policy"] == "noeviction"
    error_message = "Revocations could be evicted."
  }
  assert {
    condition     = length(google_redis_instance.aragora) == 0 && output.server_ca_pem == "leaf\nroot"
    error_message = "There are two products, or no authority."
  }
  assert {
    condition = output.aragora_environment == tomap({
      ARAGORA_REDIS_MODE          = "standalone"
      ARAGORA_REDIS_URL           = "rediss://10.0.0.4:6379"
      ARAGORA_REDIS_PASSWORD_FILE = "/run/aragora/redis-token"
      ARAGORA_REDIS_TLS_CA        = "/etc/aragora/redis-ca.pem"
      ARAGORA_REDIS_TLS_VERIFY    = "ca"
    })
    error_message = "The environment is another."
  }
}

run "what_is_refused" {
  command = plan
  variables {
    name             = "Aragora"
    project_id       = "Aragora Production"
    region           = "us-central1-a"
    environment      = "Production"
    network_id       = "vpc"
    product          = "cluster"
    memory_size_gb   = 0
    redis_version    = "REDIS_6_X"
    psa_range_name   = "10.0.0.0/24"
    valkey_version   = "VALKEY_7_2"
    valkey_node_type = "M1"
    maintenance_day  = "Sunday"
    maintenance_hour = 24
    tls_ca_path      = "redis-ca.pem"
    iam_token_path   = "token"
  }
  expect_failures = [
    var.name, var.project_id, var.region, var.environment, var.network_id, var.product,
    var.memory_size_gb, var.redis_version, var.psa_range_name, var.valkey_version,
    var.valkey_node_type, var.maintenance_day, var.maintenance_hour,
    var.tls_ca_path, var.iam_token_path,
  ]
}

run "valkey_without_a_subnetwork" {
  command = plan
  variables {
    product = "valkey"
  }
  expect_failures = [var.valkey_subnetwork_id]
}

run "valkey_without_a_whole_id" {
  command = plan
  variables {
    product              = "valkey"
    valkey_subnetwork_id = "services"
  }
  expect_failures = [var.valkey_subnetwork_id]
}
