package sewa

import (
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	apiv1 "github.com/sewa-project/sewa/sdk-go/api/v1"
)

// Repeat says whether a method may be repeated when it is not known if the first try took effect.
type Repeat int

const (
	// RepeatUnsafe is a method that is no read, takes no key, and is not idempotent.
	RepeatUnsafe Repeat = iota
	// RepeatFree is a read, or a write that is idempotent by itself.
	RepeatFree
	// RepeatKeyed is a write that is repeated with the same idempotency key.
	RepeatKeyed
)

// RetryClass is what a client may repeat after an error, from the boldest to the most careful.
type RetryClass int

const (
	// RetryCall allows the same call, with the same idempotency key.
	RetryCall RetryClass = 1
	// RetryUnitOfWork allows a new call, after reading the state again.
	RetryUnitOfWork RetryClass = 2
	// RetryNothing means that repeating cannot help until something else changes.
	RetryNothing RetryClass = 3
)

// String is the name of the class in the contract.
func (c RetryClass) String() string {
	switch c {
	case RetryCall:
		return "CALL"
	case RetryUnitOfWork:
		return "UNIT_OF_WORK"
	default:
		return "NOTHING"
	}
}

// MethodRule is what the contract says of a method.
type MethodRule struct {
	// Descriptor of the method.
	Descriptor protoreflect.MethodDescriptor
	// Repeat says whether repeating is safe.
	Repeat Repeat
	// Public methods can be called without credentials.
	Public bool
	// DefaultTimeout is how long a call may take when the caller does not say; zero where the contract does not either.
	DefaultTimeout time.Duration
}

// ReasonRule is what the contract says of an error reason.
type ReasonRule struct {
	// Code is the status code the reason comes with.
	Code codes.Code
	// Retry says what may be repeated.
	Retry RetryClass
	// Remedy is what the caller should do, in one sentence.
	Remedy string
}

// Rules are those of a contract: methods by path, /package.Service/Method, and error reasons by name.
type Rules struct {
	Methods map[string]*MethodRule
	Reasons map[string]ReasonRule
}

// Contract returns the rules of the contract this module was generated from. They are not to be changed.
func Contract() *Rules { return contract() }

var contract = sync.OnceValue(func() *Rules {
	rules := &Rules{Methods: map[string]*MethodRule{}, Reasons: map[string]ReasonRule{}}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		// Files of other contracts in the same program declare nothing of ours, and are left unread.
		if strings.HasPrefix(string(file.Package()), "sewa.") {
			rules.add(file)
		}
		return true
	})
	return rules
})

func (r *Rules) add(file protoreflect.FileDescriptor) {
	for i := range file.Services().Len() {
		methods := file.Services().Get(i).Methods()
		for j := range methods.Len() {
			method := methods.Get(j)
			r.Methods["/"+string(method.Parent().FullName())+"/"+string(method.Name())] = methodRule(method)
		}
	}
	for i := range file.Enums().Len() {
		if enum := file.Enums().Get(i); strings.HasSuffix(string(enum.Name()), "ErrorReason") {
			r.addReasons(enum)
		}
	}
}

func methodRule(method protoreflect.MethodDescriptor) *MethodRule {
	options := method.Options().(*descriptorpb.MethodOptions)
	declared := proto.GetExtension(options, apiv1.E_Method).(*apiv1.MethodRule)
	rule := &MethodRule{Descriptor: method, Public: declared.GetPublic(), DefaultTimeout: declared.GetDeadline().GetDefault().AsDuration()}
	level := options.GetIdempotencyLevel()
	switch declared.GetIdempotency() {
	case apiv1.IdempotencyMode_IDEMPOTENCY_MODE_KEY_OPTIONAL, apiv1.IdempotencyMode_IDEMPOTENCY_MODE_KEY_REQUIRED:
		rule.Repeat = RepeatKeyed
	case apiv1.IdempotencyMode_IDEMPOTENCY_MODE_NONE:
		if level == descriptorpb.MethodOptions_NO_SIDE_EFFECTS || level == descriptorpb.MethodOptions_IDEMPOTENT {
			rule.Repeat = RepeatFree
		}
	}
	return rule
}

func (r *Rules) addReasons(enum protoreflect.EnumDescriptor) {
	var prefix strings.Builder
	for i, letter := range string(enum.Name()) {
		if i > 0 && 'A' <= letter && letter <= 'Z' {
			prefix.WriteByte('_')
		}
		prefix.WriteRune(letter)
	}
	start := strings.ToUpper(prefix.String()) + "_"
	for i := range enum.Values().Len() {
		value := enum.Values().Get(i)
		if !proto.HasExtension(value.Options(), apiv1.E_Error) {
			continue
		}
		declared := proto.GetExtension(value.Options(), apiv1.E_Error).(*apiv1.ErrorRule)
		retry := RetryClass(declared.GetRetry())
		if retry < RetryCall || retry > RetryNothing {
			retry = RetryNothing
		}
		name := strings.TrimPrefix(string(value.Name()), start)
		// Two services may use one word; the careful advice wins, because a needless error is cheaper than a wrong repeat.
		if known, ok := r.Reasons[name]; !ok || known.Retry < retry {
			r.Reasons[name] = ReasonRule{Code: codes.Code(code.Code_value[declared.GetCode()]), Retry: retry, Remedy: declared.GetRemedy()}
		}
	}
}
