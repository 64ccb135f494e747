resource "aws_lb" "gateway" {
  name               = "mcp-queue-gateway"
  internal           = true
  load_balancer_type = "application"
  security_groups    = [aws_security_group.this["load-balancer"].id]
  subnets            = var.private_subnet_ids
}

resource "aws_lb_target_group" "gateway" {
  name        = "mcp-queue-gateway"
  target_type = "ip"
  vpc_id      = var.vpc_id
  port        = local.processes.gateway.port
  protocol    = "HTTP"
  # As long as the gateway takes to answer what it has accepted (SHUTDOWN_GRACE).
  deregistration_delay = 30

  health_check {
    path                = "/readyz"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "gateway" {
  load_balancer_arn = aws_lb.gateway.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateway.arn
  }
}
