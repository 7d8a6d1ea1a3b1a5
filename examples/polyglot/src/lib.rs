//! Workers in other languages behind the standalone gateway.
