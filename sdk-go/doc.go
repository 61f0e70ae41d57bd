// Package sewa is the client of the Sewa platform.
//
// A [Client] is what generated stubs are built on: walletv1.NewWalletServiceClient(client). Around the stubs, which are plain protoc-gen-go-grpc code, stands
// one small runtime. It reads the contract from the descriptors at run time and does what it says: whether a repeat is safe, how long a call may take, what
// each error means. When the contract gains a method, only generated code changes.
package sewa

// Version is the version of this module.
const Version = "0.1.0"
