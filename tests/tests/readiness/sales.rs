//! Seats, deadlines, counts and payments (findings 1, 5, 24, 25).
