#include "experiments/decision_log.h"

#include <string_view>

#include <fmt/format.h>

namespace pagelab {

void DecisionLog::add(const StepRecord& record, std::span<const Decision> decisions) {
  for (const Decision& decision : decisions) {
    const std::string_view reason = decision.reason;
    char* at = file_.room(256 + 6 * reason.size());
    at =
        fmt::format_to(at, R"({{"step":{},"time_s":{},"decision":"{}","request":{},"sequence":)", record.step,
                       record.time.value(), name_of(decision.kind), decision.group->request.id.value());
    at = decision.sequence < 0 ? fmt::format_to(at, "null") : fmt::format_to(at, "{}", decision.sequence);
    at = fmt::format_to(at, R"(,"tokens":{},"reason":")", decision.tokens.value());
    at = append_json_text(at, reason);
    at = fmt::format_to(at, "\"}}\n");
    file_.wrote(at);
  }
}

char* append_json_text(char* at, std::string_view text) {
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      *at++ = '\\';
      *at++ = c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      at = fmt::format_to(at, "\\u{:04x}", static_cast<int>(c));
    } else {
      *at++ = c;
    }
  }
  return at;
}

}  // namespace pagelab
