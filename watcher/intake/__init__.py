"""What lies in incoming/ and at other places where people put files, and taking it; not when it is loaded."""
