//! Who may do what: sockets and their payloads, typed identity (findings 10, 20, 21).
