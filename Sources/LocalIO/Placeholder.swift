// LocalIO
