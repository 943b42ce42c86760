"""`python -m clevagent check`."""

from clevagent.check import main

raise SystemExit(main())
