"""`python -m clevagent check`, and the other commands of `clevagent`."""

from clevagent.jobs.cli import main

raise SystemExit(main())
