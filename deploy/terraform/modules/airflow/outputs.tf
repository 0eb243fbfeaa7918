output "how_to_reach" {
  description = "Commands: the port forwarding to Airflow's pages, and where its password stands."
  value = {
    instance_id = aws_instance.this.id
    forward     = "aws ssm start-session --region ${data.aws_region.current.name} --target ${aws_instance.this.id} --document-name AWS-StartPortForwardingSession --parameters portNumber=8080,localPortNumber=8080"
    password    = "aws ssm start-session --region ${data.aws_region.current.name} --target ${aws_instance.this.id}, then: sudo cat /opt/airflow/simple_auth_manager_passwords.json.generated"
  }
}
