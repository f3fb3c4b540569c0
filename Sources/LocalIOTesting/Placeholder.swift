// LocalIOTesting
