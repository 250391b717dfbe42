"""The processes that services consist of: started, watched, taken over, stopped."""
