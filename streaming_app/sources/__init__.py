"""Where rows come from: each source is a Spark Python data source of its own."""
