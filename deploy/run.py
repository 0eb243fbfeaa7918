"""What spark-submit starts: `spark-submit ... deploy/run.py run --config conf/production.yaml`."""

import sys

from streaming_app.cli import main

sys.exit(main())
