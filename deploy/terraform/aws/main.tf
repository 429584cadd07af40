locals {
  engine_version = coalesce(var.engine_version, { valkey = "8.0", redis = "7.1" }[var.engine])
  major          = split(".", local.engine_version)[0]
  family         = local.major == "6" ? "redis6.x" : "${var.engine}${local.major}"
  rbac           = var.access == "rbac"

  tags = merge(var.tags, {
    Environment = var.environment
    Service     = "aragora"
  })
}

# Minutes: of the day for the snapshot, of the week for the maintenance.
locals {
  days     = { mon = 0, tue = 1, wed = 2, thu = 3, fri = 4, sat = 5, sun = 6 }
  snapshot = [for time in regexall("(\\d\\d):(\\d\\d)", var.snapshot_window) : time[0] * 60 + time[1]]
  maintenance = [
    for time in regexall("(\\w{3}):(\\d\\d):(\\d\\d)", var.maintenance_window) :
    local.days[time[0]] * 1440 + time[1] * 60 + time[2]
  ]
  snapshot_minutes    = (local.snapshot[1] - local.snapshot[0] + 1440) % 1440
  maintenance_minutes = (local.maintenance[1] - local.maintenance[0] + 10080) % 10080

  # The snapshot comes every day, so only the time of day counts; either may pass midnight.
  between = (local.maintenance[0] - local.snapshot[0] + 10080) % 1440
  windows_overlap = (
    local.between < local.snapshot_minutes || (1440 - local.between) % 1440 < local.maintenance_minutes
  )
}

resource "aws_elasticache_subnet_group" "aragora" {
  name       = var.name
  subnet_ids = var.subnet_ids
  tags       = local.tags
}

resource "aws_security_group" "redis" {
  name        = var.name
  description = "Redis of Aragora"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "redis" {
  for_each = var.client_security_group_ids

  security_group_id            = aws_security_group.redis.id
  referenced_security_group_id = each.value
  description                  = "Redis from ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
  tags                         = local.tags
}

resource "aws_elasticache_parameter_group" "aragora" {
  name        = "${var.name}-${replace(local.family, ".", "-")}"
  description = "Evicts nothing"
  family      = local.family
  tags        = local.tags

  # ElastiCache's own is volatile-lru, which evicts what expires: all revocations and sessions.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }

  # With one replica this would stop all writes whenever that is replaced.
  dynamic "parameter" {
    for_each = var.num_cache_clusters > 2 ? { min-replicas-to-write = 1, min-replicas-max-lag = 3 } : {}
    content {
      name  = parameter.key
      value = parameter.value
    }
  }

  # A new major version is another family, and the group in use cannot be deleted first.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_elasticache_user" "aragora" {
  count = local.rbac ? 1 : 0

  user_id   = "${var.name}-app"
  user_name = "aragora"
  engine    = var.engine
  # INFO and ROLE tell how far replicas are; the rest of @dangerous (KEYS, FLUSHALL) is not used. By SCRIPT
  # FLUSH and KILL it would reach into the calls of others.
  access_string = "on ~${var.key_prefix}:* resetchannels &${var.key_prefix}:* +@all -@dangerous +info +role -script +script|load +script|exists"

  authentication_mode {
    type      = "password"
    passwords = [var.redis_auth_token]
  }

  tags = local.tags
}

# Redis demands a user called default in each group, and the one that AWS makes may do everything.
resource "aws_elasticache_user" "default" {
  count = local.rbac && var.engine == "redis" ? 1 : 0

  user_id       = "${var.name}-off"
  user_name     = "default"
  engine        = var.engine
  access_string = "off -@all"

  authentication_mode {
    type = "no-password-required"
  }

  tags = local.tags
}

resource "aws_elasticache_user_group" "aragora" {
  count = local.rbac ? 1 : 0

  user_group_id = var.name
  engine        = var.engine
  user_ids      = concat(aws_elasticache_user.aragora[*].user_id, aws_elasticache_user.default[*].user_id)
  tags          = local.tags
}

resource "aws_elasticache_replication_group" "aragora" {
  replication_group_id = var.name
  description          = "Aragora Redis cluster"
  engine               = var.engine
  engine_version       = local.engine_version
  node_type            = var.node_type
  num_cache_clusters   = var.num_cache_clusters
  port                 = 6379
  parameter_group_name = aws_elasticache_parameter_group.aragora.name

  automatic_failover_enabled = true
  multi_az_enabled           = true

  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  auth_token                 = local.rbac ? null : var.redis_auth_token
  # A changed token is taken beside the old one, so that services move without being refused.
  auth_token_update_strategy = local.rbac ? null : "ROTATE"
  user_group_ids             = local.rbac ? aws_elasticache_user_group.aragora[*].user_group_id : null

  subnet_group_name  = aws_elasticache_subnet_group.aragora.name
  security_group_ids = [aws_security_group.redis.id]

  snapshot_retention_limit  = var.snapshot_retention_limit
  snapshot_window           = var.snapshot_window
  maintenance_window        = var.maintenance_window
  final_snapshot_identifier = "${var.name}-final"

  tags = local.tags

  lifecycle {
    # The API refuses these, and only while it applies: `validate` and `plan` would let them pass.
    precondition {
      condition     = !local.windows_overlap
      error_message = "snapshot_window (any day) and maintenance_window overlap, which ElastiCache refuses: move one of them."
    }
    precondition {
      condition     = local.snapshot_minutes >= 60 && local.maintenance_minutes >= 60
      error_message = "snapshot_window and maintenance_window must each last at least 60 minutes."
    }
  }
}
