"""`python -m benchmarks.plain_celery_chaos --jobs 2000 --seed 1 --minutes 4 --report docs/reliability.md`"""

from benchmarks.plain_celery_chaos.main import main

raise SystemExit(main())
