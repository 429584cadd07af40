locals {
  redis  = var.product == "redis"
  valkey = var.product == "valkey"

  # The guide's tags; a label has no capitals.
  labels = {
    environment = var.environment
    service     = "aragora"
  }
}

# A VPC has one peering with servicenetworking, whoever made it: name its range to leave it alone.
resource "google_compute_global_address" "aragora" {
  count = local.redis && var.psa_range_name == null ? 1 : 0

  name          = "${var.name}-psa"
  project       = var.project_id
  network       = var.network_id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 24
}

resource "google_service_networking_connection" "aragora" {
  count = local.redis && var.psa_range_name == null ? 1 : 0

  network                 = var.network_id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = google_compute_global_address.aragora[*].name
}

resource "google_redis_instance" "aragora" {
  count = local.redis ? 1 : 0

  name           = var.name
  project        = var.project_id
  tier           = "STANDARD_HA"
  memory_size_gb = var.memory_size_gb
  region         = var.region
  labels         = local.labels

  authorized_network = var.network_id
  connect_mode       = "PRIVATE_SERVICE_ACCESS"
  reserved_ip_range  = var.psa_range_name == null ? one(google_compute_global_address.aragora[*].name) : var.psa_range_name

  redis_version = var.redis_version
  display_name  = "Aragora Redis HA"

  # The guide leaves both off, and then whoever reaches the VPC reads and writes revocations.
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"

  # Memorystore's own is volatile-lru, which evicts what expires: all revocations and sessions.
  redis_configs = {
    "maxmemory-policy" = "noeviction"
  }

  persistence_config {
    persistence_mode    = "RDB"
    rdb_snapshot_period = "TWELVE_HOURS"
  }

  maintenance_policy {
    weekly_maintenance_window {
      day = var.maintenance_day
      start_time {
        hours   = var.maintenance_hour
        minutes = 0
      }
    }
  }

  depends_on = [google_service_networking_connection.aragora]
}

resource "google_network_connectivity_service_connection_policy" "aragora" {
  count = local.valkey ? 1 : 0

  name          = var.name
  project       = var.project_id
  location      = var.region
  service_class = "gcp-memorystore"
  network       = var.network_id
  labels        = local.labels

  psc_config {
    subnetworks = [var.valkey_subnetwork_id]
  }
}

resource "google_memorystore_instance" "aragora" {
  count = local.valkey ? 1 : 0

  instance_id    = var.name
  project        = var.project_id
  location       = var.region
  engine_version = var.valkey_version
  node_type      = var.valkey_node_type
  labels         = local.labels

  # aragora-redis knows no Redis Cluster yet, and replica_count is 0 unless it is asked for.
  mode          = "CLUSTER_DISABLED"
  shard_count   = 1
  replica_count = 1

  zone_distribution_config {
    mode = "MULTI_ZONE"
  }

  authorization_mode      = "IAM_AUTH"
  transit_encryption_mode = "SERVER_AUTHENTICATION"

  engine_configs = {
    "maxmemory-policy" = "noeviction"
  }

  persistence_config {
    mode = "RDB"
    rdb_config {
      rdb_snapshot_period = "TWELVE_HOURS"
    }
  }

  maintenance_policy {
    weekly_maintenance_window {
      day = var.maintenance_day
      start_time {
        hours = var.maintenance_hour
      }
    }
  }

  desired_auto_created_endpoints {
    network    = var.network_id
    project_id = var.project_id
  }

  deletion_protection_enabled = true

  depends_on = [google_network_connectivity_service_connection_policy.aragora]
}
