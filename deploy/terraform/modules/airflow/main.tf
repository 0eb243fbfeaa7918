# One Ubuntu machine with Airflow. No open port, no SSH key, no default password: people come through SSM's port forwarding, and the
# one account's password is made on the machine at its first start.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.90"
    }
  }
}

data "aws_ssm_parameter" "ubuntu" {
  count = var.ami_id == null ? 1 : 0
  name  = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
}

data "aws_region" "current" {}
data "aws_partition" "current" {}

locals {
  first_start = templatefile("${path.module}/first_start.sh.tftpl", {
    boto3  = regex("boto3==([0-9.]+)", file(var.requirements))[0]
    bucket = var.bucket
    prefix = var.prefix
    region = data.aws_region.current.name
    fetch  = trimspace(file("${path.module}/fetch.py"))
  })
}

# What the host fetches: the DAGs, the lock of what they need, and the variable that they read, which says what was made here.
resource "aws_s3_object" "dag" {
  # checkov:skip=CKV_AWS_186: Objects take the bucket's encryption, which is the KMS key where there is one.
  for_each = fileset(var.dags, "**/{*.py,.airflowignore}")

  bucket  = var.bucket
  key     = "${var.prefix}/dags/${each.key}"
  content = file("${var.dags}/${each.key}")
}

resource "aws_s3_object" "requirements" {
  # checkov:skip=CKV_AWS_186: Objects take the bucket's encryption, which is the KMS key where there is one.
  bucket  = var.bucket
  key     = "${var.prefix}/requirements.txt"
  content = file(var.requirements)
}

resource "aws_s3_object" "variables" {
  # checkov:skip=CKV_AWS_186: Objects take the bucket's encryption, which is the KMS key where there is one.
  bucket  = var.bucket
  key     = "${var.prefix}/variables.json"
  content = jsonencode(var.variables)
}

resource "aws_security_group" "this" {
  name        = var.name
  description = "No way in; out to AWS and to package mirrors"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "https" {
  description       = "AWS, PyPI, Ubuntu's mirrors"
  security_group_id = aws_security_group.this.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "http" {
  description       = "Ubuntu's mirrors, whose packages are signed"
  security_group_id = aws_security_group.this.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 80
  to_port           = 80
}

resource "aws_instance" "this" {
  # checkov:skip=CKV_AWS_88: A public address is the way out without a NAT gateway; the security group lets nobody in.
  # checkov:skip=CKV_AWS_126: Detailed monitoring costs more than it tells of one machine that starts jobs.
  ami                         = var.ami_id == null ? nonsensitive(data.aws_ssm_parameter.ubuntu[0].value) : var.ami_id
  instance_type               = var.instance_type
  subnet_id                   = var.subnet_id
  vpc_security_group_ids      = [aws_security_group.this.id]
  iam_instance_profile        = aws_iam_instance_profile.this.name
  associate_public_ip_address = true
  ebs_optimized               = true
  user_data                   = local.first_start

  metadata_options {
    http_tokens                 = "required" # IMDSv2
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = 20
    encrypted   = true
    kms_key_id  = var.kms_key_arn
  }

  tags = { Name = var.name }

  # Its first start fetches them.
  depends_on = [aws_s3_object.dag, aws_s3_object.requirements, aws_s3_object.variables, aws_iam_role_policy.this]

  lifecycle {
    ignore_changes = [ami] # a newer image is no reason to lose the machine
  }
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "this" {
  name               = "${var.name}-${data.aws_region.current.name}" # roles and profiles are of all regions
  description        = "The Airflow host"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

# AWS's own policy for SSM's agent: sessions without an open port.
resource "aws_iam_role_policy_attachment" "ssm" {
  role       = aws_iam_role.this.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

data "aws_iam_policy_document" "this" {
  dynamic "statement" {
    for_each = var.statements

    content {
      sid       = statement.value.sid
      actions   = statement.value.actions
      resources = statement.value.resources

      dynamic "condition" {
        for_each = statement.value.conditions

        content {
          test     = condition.value.test
          variable = condition.value.variable
          values   = condition.value.values
        }
      }
    }
  }
}

resource "aws_iam_role_policy" "this" {
  name   = "airflow"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.this.json
}

resource "aws_iam_instance_profile" "this" {
  name = aws_iam_role.this.name
  role = aws_iam_role.this.name
}
