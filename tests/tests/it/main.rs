//! What the platform promises, driven from outside: through the SDK, REST, gRPC-Web and grpcurl, against real servers and a real PostgreSQL.

mod identity;
