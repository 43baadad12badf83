"""`python -m tests.chaos --jobs 10000 --seed 1 --minutes 15 --report docs/reliability.md`"""

from tests.chaos.main import main

raise SystemExit(main())
