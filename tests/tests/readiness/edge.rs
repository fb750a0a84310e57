//! What every request meets before a route does: headers, origins, limits, failures, health, the end of a process (findings 3, 7, 8, 9, 11, 22).
