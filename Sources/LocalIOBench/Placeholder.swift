// LocalIOBench
