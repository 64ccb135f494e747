terraform {
  required_version = ">= 1.5"

  required_providers {
    # 6.8 is the first that takes a max_message_size of 1 MiB.
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.8"
    }
  }
}
