package sewa

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
)

// ofStatus is the error inside a message, for example that of a failed operation.
func ofStatus(status *spb.Status) *Error {
	e := &Error{Code: codes.Code(status.GetCode()), Message: status.GetMessage(), Attempts: 1, status: status}
	if e.Code == codes.OK {
		e.Code, e.status = codes.Unknown, nil
	}
	for _, detail := range status.GetDetails() {
		e.read(detail)
	}
	return e
}

// read takes in one of the standard details. Others and malformed ones are passed over: they must not hide the code and the message.
func (e *Error) read(detail *anypb.Any) {
	message, err := detail.UnmarshalNew()
	if err != nil {
		return
	}
	switch found := message.(type) {
	case *errdetails.ErrorInfo:
		e.Reason, e.Metadata = found.GetReason(), found.GetMetadata()
	case *errdetails.RetryInfo:
		if wait := found.GetRetryDelay(); wait.IsValid() && wait.AsDuration() >= 0 {
			span := wait.AsDuration()
			e.hint = &span
		}
	case *errdetails.BadRequest:
		for _, violation := range found.GetFieldViolations() {
			e.FieldViolations = append(e.FieldViolations, FieldViolation{violation.GetField(), violation.GetReason(), violation.GetDescription()})
		}
	case *errdetails.QuotaFailure:
		for _, quota := range found.GetViolations() {
			e.QuotaViolations = append(e.QuotaViolations,
				QuotaViolation{quota.GetSubject(), quota.GetQuotaMetric(), quota.GetQuotaValue(), quota.GetDescription()})
		}
	case *errdetails.LocalizedMessage:
		e.LocalizedMessage = found.GetMessage()
	case *errdetails.RequestInfo:
		e.RequestID = found.GetRequestId()
	}
}
