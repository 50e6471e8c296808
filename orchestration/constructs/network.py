"""Where the container runs: subnets of its own with a way to S3, or those that are given."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from orchestration.constructs.acknowledged import acknowledge


class Network(Construct):
    """``subnet_ids`` and a security group that lets nobody in and HTTPS out.

    Its own subnets are public, because a NAT gateway costs more in a day than the compaction of a month; S3
    is reached through a gateway endpoint, which costs nothing. Given subnets may be private.
    """

    def __init__(
        self, scope: Construct, name: str, *, vpc_id: str = "", subnet_ids: Sequence[str] = ()
    ) -> None:
        super().__init__(scope, name)
        if vpc_id:
            vpc: ec2.IVpc = ec2.Vpc.from_vpc_attributes(
                self, "Given", vpc_id=vpc_id, availability_zones=["unknown"]
            )
            self.subnet_ids = list(subnet_ids)
            self.assign_public_ip = "DISABLED"
        else:
            own = self._own()
            vpc = own
            self.subnet_ids = [subnet.subnet_id for subnet in own.public_subnets]
            self.assign_public_ip = "ENABLED"  # the way to ECR, where there is no NAT
        self.vpc = vpc
        self.security_group = ec2.SecurityGroup(
            self,
            "Container",
            vpc=vpc,
            description="Compaction containers: nobody in, HTTPS out",
            allow_all_outbound=False,
        )
        self.security_group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "S3, ECR, logs")

    def _own(self) -> ec2.Vpc:
        vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=2,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=24)
            ],
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)
            },
        )
        acknowledge(
            vpc,
            VPC7="""Nothing listens here, and the containers speak to S3 and ECR only. Flow logs of thousands
            of GETs a day would say that at a price; give subnets of your own where they must be logged.""",
        )
        return vpc
