mock_provider "aws" {
  mock_resource "aws_elasticache_replication_group" {
    defaults = {
      primary_endpoint_address = "master.aragora-redis.abcd.use1.cache.amazonaws.com"
    }
  }
}

variables {
  vpc_id                    = "vpc-0a1b2c3d"
  subnet_ids                = ["subnet-a", "subnet-b"]
  client_security_group_ids = { gateway = "sg-gateway" }
  redis_auth_token          = "a-token-that-is-long"
}

run "the_guide" {
  assert {
    condition = (
      aws_elasticache_replication_group.aragora.automatic_failover_enabled
      && aws_elasticache_replication_group.aragora.multi_az_enabled
      && aws_elasticache_replication_group.aragora.num_cache_clusters == 2
    )
    error_message = "There is nothing to fail over to."
  }
  assert {
    condition = (
      tobool(aws_elasticache_replication_group.aragora.at_rest_encryption_enabled)
      && aws_elasticache_replication_group.aragora.transit_encryption_enabled
      && aws_elasticache_replication_group.aragora.auth_token == "a-token-that-is-long"
    )
    error_message = "Data, the wire or the door is open."
  }
  assert {
    condition     = one(aws_elasticache_parameter_group.aragora.parameter).value == "noeviction" && aws_elasticache_parameter_group.aragora.family == "valkey8"
    error_message = "Revocations could be evicted."
  }
  assert {
    condition = output.aragora_environment == tomap({
      ARAGORA_REDIS_MODE     = "standalone"
      ARAGORA_REDIS_URL      = "rediss://master.aragora-redis.abcd.use1.cache.amazonaws.com:6379"
      ARAGORA_REDIS_PASSWORD = "a-token-that-is-long"
      ARAGORA_KEY_PREFIX     = "aragora"
    })
    error_message = "The environment is another."
  }
  assert {
    condition     = aws_elasticache_replication_group.aragora.tags == tomap({ Environment = "production", Service = "aragora" })
    error_message = "The tags are others."
  }
}

run "three_nodes" {
  command = plan
  variables {
    num_cache_clusters = 3
  }
  assert {
    condition = { for each in aws_elasticache_parameter_group.aragora.parameter : each.name => each.value } == {
      maxmemory-policy      = "noeviction"
      min-replicas-to-write = "1"
      min-replicas-max-lag  = "3"
    }
    error_message = "A primary without replicas would go on acknowledging."
  }
}

run "rbac_on_valkey" {
  variables {
    access = "rbac"
  }
  assert {
    condition     = aws_elasticache_replication_group.aragora.auth_token == null && length(aws_elasticache_user.default) == 0
    error_message = "ElastiCache takes a token or a user group, and a Valkey group no user without a password."
  }
  assert {
    condition = output.aragora_environment == tomap({
      ARAGORA_REDIS_MODE     = "standalone"
      ARAGORA_REDIS_URL      = "rediss://master.aragora-redis.abcd.use1.cache.amazonaws.com:6379"
      ARAGORA_REDIS_USERNAME = "aragora"
      ARAGORA_REDIS_PASSWORD = "a-token-that-is-long"
      ARAGORA_KEY_PREFIX     = "aragora"
    })
    error_message = "The environment is another."
  }
}

run "rbac_on_redis" {
  variables {
    access = "rbac"
    engine = "redis"
  }
  assert {
    condition     = length(aws_elasticache_user_group.aragora[0].user_ids) == 2 && aws_elasticache_user.default[0].access_string == "off -@all"
    error_message = "A Redis group needs a default user, and it must be off."
  }
  assert {
    condition     = aws_elasticache_parameter_group.aragora.family == "redis7"
    error_message = "The family is another."
  }
}

run "windows_across_midnight" {
  command = plan
  variables {
    snapshot_window    = "23:00-01:00"
    maintenance_window = "sun:01:00-sun:02:00"
  }
}

run "the_guides_windows" {
  command = plan
  variables {
    snapshot_window = "05:00-09:00"
  }
  expect_failures = [aws_elasticache_replication_group.aragora]
}

run "maintenance_into_the_snapshot" {
  command = plan
  variables {
    snapshot_window    = "00:30-01:30"
    maintenance_window = "sun:23:00-mon:01:00"
  }
  expect_failures = [aws_elasticache_replication_group.aragora]
}

run "maintenance_from_within_the_snapshot" {
  command = plan
  variables {
    snapshot_window    = "04:00-06:00"
    maintenance_window = "wed:05:00-wed:07:00"
  }
  expect_failures = [aws_elasticache_replication_group.aragora]
}

run "snapshot_within_maintenance" {
  command = plan
  variables {
    snapshot_window    = "06:00-07:00"
    maintenance_window = "sun:05:00-sun:09:00"
  }
  expect_failures = [aws_elasticache_replication_group.aragora]
}

run "maintenance_of_a_day" {
  command = plan
  variables {
    snapshot_window    = "03:00-04:00"
    maintenance_window = "sun:05:00-mon:05:00"
  }
  expect_failures = [aws_elasticache_replication_group.aragora]
}

run "too_short_a_window" {
  command = plan
  variables {
    snapshot_window = "03:00-03:30"
  }
  expect_failures = [aws_elasticache_replication_group.aragora]
}

run "what_is_refused" {
  command = plan
  variables {
    name                      = "Aragora"
    environment               = ""
    tags                      = { Service = "other" }
    vpc_id                    = "10.0.0.0/16"
    subnet_ids                = ["subnet-a", "subnet-a"]
    client_security_group_ids = {}
    engine_version            = "7.2"
    node_type                 = "cache.t2.micro"
    num_cache_clusters        = 1
    redis_auth_token          = "fifteen-letters"
    key_prefix                = "a:b"
    snapshot_retention_limit  = 0
  }
  expect_failures = [
    var.name, var.environment, var.tags, var.vpc_id, var.subnet_ids, var.client_security_group_ids,
    var.engine_version, var.node_type, var.num_cache_clusters, var.redis_auth_token, var.key_prefix,
    var.snapshot_retention_limit,
  ]
}

run "what_else_is_refused" {
  command = plan
  variables {
    engine             = "memcached"
    access             = "open"
    redis_auth_token   = "has-a-slash/and-an-at@"
    snapshot_window    = "3:00-5:00"
    maintenance_window = "05:00-09:00"
  }
  expect_failures = [var.engine, var.access, var.redis_auth_token, var.snapshot_window, var.maintenance_window]
}
