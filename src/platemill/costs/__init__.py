"""What nights take and cost: counted from their journals, and expected of the next one."""
