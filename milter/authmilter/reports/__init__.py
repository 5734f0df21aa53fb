"""DMARC reports: what is noted of each message, how it is kept, and what is made of it.

    milter:              message -> observation (pure) -> collector (memory, a thread) -> ledger (store)
    authmilter report:   ledger -> aggregate (destinations, feedback) -> mailcommon.outbox -> mail

Standards: RFC 9990 (aggregate reports), RFC 9991 and RFC 6591 (failure reports).
"""
