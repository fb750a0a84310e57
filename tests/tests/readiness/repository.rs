//! What is, and is not, in the repository and what is built from it (findings 6, 16 to 19).
