"""The consumer: receive, dispatch, settle."""
