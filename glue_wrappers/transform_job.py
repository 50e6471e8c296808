"""The Glue transform job: a compacted day to adjusted, checked prices."""

from briquette.aws.glue_runtime import run_script
from briquette.aws.glue_transform import ARGUMENTS, transform

if __name__ == "__main__":
    run_script(ARGUMENTS, transform)
