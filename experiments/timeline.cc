#include "experiments/timeline.h"

#include <fmt/format.h>

#include "experiments/decision_log.h"

namespace pagelab {

namespace {

constexpr std::int64_t steps_per_stride = 50'000;
constexpr std::int64_t most_request_events = 1'000'000;
constexpr std::size_t event_bytes = 512;
constexpr std::size_t tail_bytes = 256;

double microseconds(Seconds time) {
  return time.value() * 1e6;
}

std::string_view name_of(GroupState state) {
  return state == GroupState::running ? "running" : state == GroupState::swapped ? "swapped" : "waiting";
}

}  // namespace

Timeline::Timeline(const std::filesystem::path& path) : file_(path, 0, tail_bytes) {
  file_.write("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
  file_.write(R"({"ph":"M","pid":1,"name":"process_name","args":{"name":"engine"}},)"
              "\n");
  file_.write(R"({"ph":"M","pid":1,"tid":1,"name":"thread_name","args":{"name":"steps"}},)"
              "\n");
  file_.write(R"({"ph":"M","pid":2,"name":"process_name","args":{"name":"requests"}},)"
              "\n");
  file_.flush();  // so that even a file that cannot grow is valid
}

void Timeline::on_finish(const SequenceGroup& group) {
  ended_.push_back({group.request.id, group.finished});
}

void Timeline::on_step(const StepRecord& record, std::span<const Decision> decisions) {
  if (record.step % step_stride_ == 0) {
    draw_step(record);
  }
  for (const Decision& decision : decisions) {
    change_state(decision, record.time);
  }
  for (const Ended& ended : ended_) {
    end_state(ended.request, "running", since(ended.request), ended.finished);
  }
  ended_.clear();
}

void Timeline::on_unfinished(const SequenceGroup& group, Seconds now) {
  const RequestId id = group.request.id;
  const Seconds start = since(id) < Seconds(0) ? group.request.arrival : since(id);
  end_state(id, name_of(group.state), start, now);
}

void Timeline::complete() {
  file_.complete(fmt::format(
      R"({{"ph":"M","pid":1,"name":"process_labels","args":{{"labels":"every {}. step drawn, {} events left out"}}}})"
      "\n]}}\n",
      step_stride_, request_events_left_out_));
}

void Timeline::draw_step(const StepRecord& record) {
  const double ts = microseconds(record.time);
  const SlotLedger& slots = record.slots;
  char* at = file_.room(3 * event_bytes);
  at = fmt::format_to(
      at,
      R"({{"ph":"X","pid":1,"tid":1,"name":"step","ts":{:.3f},"dur":{:.3f},"args":{{"step":{},)"
      R"("tokens_prefill":{},"tokens_decode":{}}}}},)"
      "\n",
      ts, microseconds(record.duration), record.step, record.tokens_prefill.value(),
      record.tokens_decode.value());
  at = fmt::format_to(
      at,
      R"({{"ph":"C","pid":1,"name":"slots","ts":{:.3f},"args":{{"token":{},"cached":{},"reserved":{},)"
      R"("internal":{},"external":{},"free":{}}}}},)"
      "\n",
      ts, slots.token.value(), slots.cached.value(), slots.reserved.value(), slots.internal.value(),
      slots.external.value(), slots.free.value());
  at = fmt::format_to(
      at,
      R"({{"ph":"C","pid":1,"name":"groups","ts":{:.3f},"args":{{"running":{},"waiting":{},"swapped":{}}}}},)"
      "\n",
      ts, record.running, record.waiting, record.swapped);
  file_.wrote(at);
  if (++steps_drawn_ % steps_per_stride == 0) {
    step_stride_ *= 2;
  }
}

void Timeline::change_state(const Decision& decision, Seconds now) {
  const Request& request = decision.group->request;
  Seconds& start = since(request.id);
  switch (decision.kind) {
    case DecisionKind::admit:
      end_state(request.id, "waiting", start < Seconds(0) ? request.arrival : start, now);
      break;
    case DecisionKind::preempt_recompute:
    case DecisionKind::preempt_swap:
      end_state(request.id, "running", start, now);
      mark(request.id, decision, now);
      break;
    case DecisionKind::swap_in:
      end_state(request.id, "swapped", start, now);
      break;
    default:
      return;
  }
  start = now;
}

void Timeline::end_state(RequestId request, std::string_view state, Seconds since, Seconds now) {
  if (!may_draw_request_event()) {
    return;
  }
  char* at = file_.room(event_bytes);
  at = fmt::format_to(at,
                      R"({{"ph":"X","pid":2,"tid":{},"name":"{}","ts":{:.3f},"dur":{:.3f}}},)"
                      "\n",
                      request.value(), state, microseconds(since), microseconds(now - since));
  file_.wrote(at);
}

void Timeline::mark(RequestId request, const Decision& decision, Seconds now) {
  if (!may_draw_request_event()) {
    return;
  }
  const std::string_view reason = decision.reason;
  char* at = file_.room(event_bytes + 6 * reason.size());
  at =
      fmt::format_to(at, R"({{"ph":"i","s":"t","pid":2,"tid":{},"name":"{}","ts":{:.3f},"args":{{"reason":")",
                     request.value(), pagelab::name_of(decision.kind), microseconds(now));
  at = append_json_text(at, reason);
  at = fmt::format_to(at, "\"}}}},\n");
  file_.wrote(at);
}

bool Timeline::may_draw_request_event() {
  if (request_events_ >= most_request_events) {
    ++request_events_left_out_;
    return false;
  }
  ++request_events_;
  return true;
}

Seconds& Timeline::since(RequestId request) {
  if (request.index() >= since_.size()) {
    since_.resize(request.index() + 1, Seconds(-1));
  }
  return since_[request.index()];
}

}  // namespace pagelab
