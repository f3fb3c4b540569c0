// DirectIO
