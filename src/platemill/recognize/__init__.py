"""Recognition apart from what runs it: the plan of a night, an image's way, a shard's rows."""
