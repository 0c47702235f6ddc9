"""A build as one page: events to facts (collect), facts to conclusions (critical, facts), conclusions to HTML (page)."""
