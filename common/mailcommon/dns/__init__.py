"""DNS: one `Answer` value, a blocking and an asyncio resolver. Nothing outside this package imports dnspython."""
