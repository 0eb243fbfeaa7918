# The rules of tflint's own ruleset for Terraform, all of them. AWS's ruleset is a plugin from the network; it was not tried.
plugin "terraform" {
  enabled = true
  preset  = "all"
}
