"""Webhooks: signed callbacks about events, at least once, by Standard Webhooks (standardwebhooks.com). See `docs/webhooks.md`.

The outbox rows are made by the scripts that end jobs (`lua/lib/outbox.lua`); here is who gets them (`endpoints`), what is sent (`payload`,
`signing`), how (`post`), when again (`retries`), by whom (`sender`), and what came of it (`ledger`).
"""
