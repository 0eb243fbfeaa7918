# Two shapes, neither with a NAT gateway. Public: subnets with a way out, for the Airflow host only. Private: subnets without any way
# out, AWS's services through VPC endpoints, and a Glue connection that puts the jobs there.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.90"
    }
  }
}

data "aws_availability_zones" "available" {
  # checkov:skip=CKV_AWS_394: Only the first two names are taken; `availability_zones` pins others.
  count = length(var.availability_zones) == 0 ? 1 : 0
  state = "available"
}

locals {
  zones = length(var.availability_zones) > 0 ? var.availability_zones : slice(data.aws_availability_zones.available[0].names, 0, 2)

  # What the jobs call, each an hourly charge for each zone. S3's endpoint is a gateway, and free.
  services = var.private ? toset(concat(
    ["glue", "logs", "monitoring", "sns", "sts"],
    var.streaming_enabled ? ["kinesis-streams"] : [],
    var.kms_enabled ? ["kms"] : [],
    var.sqs_enabled ? ["sqs"] : [],
  )) : toset([])
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11: Flow logs cost by the GB; there is no way in, and CloudTrail has the calls. The account's choice.
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.name }
}

# Nothing may use it: every user has a group of its own.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_subnet" "this" {
  # One zone is enough for what runs here, as each job runs in one subnet; Glue and MWAA want two to choose from.
  count = length(local.zones)

  vpc_id                  = aws_vpc.this.id
  availability_zone       = local.zones[count.index]
  cidr_block              = cidrsubnet(var.cidr, 4, count.index)
  map_public_ip_on_launch = false # who needs an address asks for it

  tags = { Name = "${var.name}-${var.private ? "private" : "public"}-${count.index}" }
}

resource "aws_internet_gateway" "this" {
  count = var.private ? 0 : 1

  vpc_id = aws_vpc.this.id
}

resource "aws_route_table" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = var.name }
}

resource "aws_route" "out" {
  count = var.private ? 0 : 1

  route_table_id         = aws_route_table.this.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "this" {
  count = length(local.zones)

  subnet_id      = aws_subnet.this[count.index].id
  route_table_id = aws_route_table.this.id
}

# Free, and traffic to S3 stays inside AWS in both shapes.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.this.id]
}

resource "aws_vpc_endpoint" "service" {
  for_each = local.services

  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.this[*].id
  security_group_ids  = [aws_security_group.jobs[0].id]
}

resource "aws_security_group" "jobs" {
  count = var.private ? 1 : 0

  name        = "${var.name}-jobs"
  description = "Glue workers among themselves, and to the VPC endpoints"
  vpc_id      = aws_vpc.this.id
}

# Glue asks for a group whose members reach each other on every TCP port.
resource "aws_vpc_security_group_ingress_rule" "jobs" {
  # checkov:skip=CKV_AWS_24: The rule names a security group, not addresses; checkov reads the port range only.
  # checkov:skip=CKV_AWS_25: See above.
  # checkov:skip=CKV_AWS_260: See above.
  count = var.private ? 1 : 0

  description                  = "Workers and endpoints of this group"
  security_group_id            = aws_security_group.jobs[0].id
  referenced_security_group_id = aws_security_group.jobs[0].id
  ip_protocol                  = "tcp"
  from_port                    = 0
  to_port                      = 65535
}

resource "aws_vpc_security_group_egress_rule" "jobs" {
  count = var.private ? 1 : 0

  description                  = "Workers and endpoints of this group"
  security_group_id            = aws_security_group.jobs[0].id
  referenced_security_group_id = aws_security_group.jobs[0].id
  ip_protocol                  = "tcp"
  from_port                    = 0
  to_port                      = 65535
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  count = var.private ? 1 : 0

  description       = "S3 through its gateway"
  security_group_id = aws_security_group.jobs[0].id
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_glue_connection" "this" {
  count = var.private ? 1 : 0

  name            = "${var.name}-private"
  description     = "Puts Glue's workers into the private subnets."
  connection_type = "NETWORK"

  physical_connection_requirements {
    availability_zone      = aws_subnet.this[0].availability_zone
    subnet_id              = aws_subnet.this[0].id
    security_group_id_list = [aws_security_group.jobs[0].id]
  }
}
