// Blocks run one after the other, each thread of a block as a fiber. A fiber runs until it waits for
// others; then the next one runs. Shared memory is fresh in every block, full of NaN, and ends where
// it ends. What a GPU would refuse, hang on or crash on is an error that says where.
//
// EMULATED_ORDER   forward, reverse, or a seed: in which order blocks, warps and lanes run. A kernel
//                  without races gives the same bits in each.
// EMULATED_SHARED  the bytes of shared memory that a block may ask for; an H100's unless told.
// With -DEMULATED_THREAD every CUDA thread is a thread to ThreadSanitizer, and only barriers and
// fences order them: it then reports every race between threads of a block, and between blocks.
#include "cuda_runtime.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#ifdef EMULATED_ADDRESS
#include <sanitizer/asan_interface.h>
#define POISON(at, size) ASAN_POISON_MEMORY_REGION(at, size)
#define UNPOISON(at, size) ASAN_UNPOISON_MEMORY_REGION(at, size)
#else
#define POISON(at, size)
#define UNPOISON(at, size)
#endif
#ifdef EMULATED_THREAD
#include <sanitizer/tsan_interface.h>
#define RELEASE(at) __tsan_release(at)
#define ACQUIRE(at) __tsan_acquire(at)
#else
#define RELEASE(at)
#define ACQUIRE(at)
#endif
#if defined(EMULATED_ADDRESS) || defined(EMULATED_THREAD)
#define EMULATED_SANITIZED
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulated {
namespace {

#ifdef EMULATED_ADDRESS
constexpr std::size_t kStack = 64 * 1024;  // whose shadow is cleared at every switch
#else
constexpr std::size_t kStack = 256 * 1024;  // touched only where it is used
#endif
constexpr std::size_t kPage = 4096;         // below each stack, never to be touched
constexpr std::size_t kArena = 256 * 1024;  // more than any GPU's shared memory
constexpr std::size_t kFree = 48 * 1024;    // shared memory that needs no asking
constexpr std::size_t kH100 = 227 * 1024;   // with asking
constexpr std::size_t kRedzone = 64;
constexpr std::uint64_t kBlocks = 1 << 22;  // more would run for hours

enum class State { ready, at_barrier, at_warp, done };

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
  unsigned group;
};

// Nothing that fibers touch is allocated in them: ThreadSanitizer would watch that too.
template <class T, int n>
struct Few {
  T items[n];
  int count = 0;
  void add(const T& item) {
    if (count == n) std::abort();
    items[count++] = item;
  }
};

struct Fiber {
  ucontext_t context;
  jmp_buf jump;
  bool started = false;
  void* stack = nullptr;
  void* tsan = nullptr;
  State state = State::done;
  Site site = nullptr;
  unsigned mask = 0;
  unsigned warp_turn = 0, block_turn = 0;  // their parity says which of two slots is in use
  std::uint64_t sent[2] = {};
  Few<Copy, 256> copies;
  unsigned group = 0;
};

std::mutex busy;  // one launch at a time
Fiber host;
std::vector<Fiber*> fibers;
Fiber* running = nullptr;  // null between fibers
int running_index = 0, threads = 0;
void (*entry)(const void*);
const void* entry_of;
int vote[2];
char launch_clock, end_clock, fence_clock;
struct Clocks {
  char block[2], warp[32][2];
};
Clocks* clocks = nullptr;  // of the block that runs

char* arena = nullptr;
std::size_t arena_used = 0, statics = 0, dynamic_bytes = 0, allowed = 0;
void* dynamic = nullptr;

struct Variable {
  const void* key;
  void* at;
};
struct Range {
  std::size_t begin, end;
};
Few<Variable, 64> variables;
Few<Range, 65> carved;  // what of the arena is in use

cudaError_t error = cudaSuccess;
std::string message;

void fail(cudaError_t code, const std::string& text) {
  if (error != cudaSuccess) return;
  error = code;
  message = text;
}

std::string place() {
  return "block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " +
         std::to_string(blockIdx.z) + "), thread (" + std::to_string(threadIdx.x) + ", " +
         std::to_string(threadIdx.y) + ", " + std::to_string(threadIdx.z) + ")";
}

void switch_fibers(Fiber& from, Fiber& to) {
#ifdef EMULATED_THREAD
  __tsan_switch_to_fiber(to.tsan, 1);  // 1: without a happens-before
#endif
#ifdef EMULATED_SANITIZED
  swapcontext(&from.context, &to.context);
#else
  // swapcontext asks the kernel for its signal mask at every switch; a jump does not.
  if (_setjmp(from.jump) == 0) {
    if (to.started) _longjmp(to.jump, 1);
    to.started = true;
    setcontext(&to.context);
  }
#endif
}

void fiber_main() {
  for (;;) {
    ACQUIRE(&launch_clock);
    entry(entry_of);
    RELEASE(&end_clock);
    running->state = State::done;
    switch_fibers(*running, host);
  }
}

void* new_stack() {
  char* const memory = static_cast<char*>(mmap(nullptr, kStack + kPage, PROT_READ | PROT_WRITE,
                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  mprotect(memory, kPage, PROT_NONE);
  return memory + kPage;
}

Fiber* new_fiber() {
  auto* fiber = new Fiber;
  fiber->stack = new_stack();
  return fiber;
}

void reset(Fiber& fiber) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
  fiber.started = false;
}

#ifndef EMULATED_SANITIZED
// A kernel that touches memory that is not its own, or divides a whole number by zero, ends its
// launch and not the process.
constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE};
struct sigaction earlier[3];
stack_t earlier_stack;
char signal_stack[64 * 1024];  // a fiber's own may be what is used up

void caught(int signal, siginfo_t* info, void*) {
  if (!running) {  // not a kernel's fault: as if nobody had listened
    for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &earlier[i], nullptr);
    return;
  }
  fail(cudaErrorLaunchFailure,
       signal == SIGFPE ? "a division by zero in " + place()
                        : "an illegal memory access in " + place());
  static_cast<void>(info);
  running = nullptr;
  _longjmp(host.jump, 1);
}
#endif

class Listening {
 public:
  Listening() {
#ifndef EMULATED_SANITIZED
    struct sigaction action = {};
    action.sa_sigaction = caught;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    stack_t stack = {};
    stack.ss_sp = signal_stack;
    stack.ss_size = sizeof signal_stack;
    sigaltstack(&stack, &earlier_stack);
    for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &action, &earlier[i]);
#endif
  }
  ~Listening() {
#ifndef EMULATED_SANITIZED
    for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &earlier[i], nullptr);
    sigaltstack(&earlier_stack, nullptr);
#endif
  }
};

void* carve(std::size_t bytes, std::size_t alignment) {
  const std::size_t step = std::max(alignment, std::size_t{16});
  arena_used = (arena_used + kRedzone + step - 1) / step * step;
  if (arena_used + bytes + 2 * kRedzone > kArena) {
    fail(cudaErrorInvalidValue, "out of shared memory");
    arena_used = 0;
  }
  char* const at = arena + arena_used;
  carved.add({arena_used, arena_used + bytes});
  arena_used += bytes;
  UNPOISON(at, bytes);
  // All bits set: NaN, with some room after it.
  for (std::size_t i = 0; i < bytes; ++i) reinterpret_cast<volatile char*>(at)[i] = '\xff';
#ifndef EMULATED_ADDRESS
  std::memset(at + bytes, 0xff, 2 * kRedzone);
#endif
  return at;
}

// Whether a thread wrote beside its block's arrays.
bool strayed() {
#ifndef EMULATED_ADDRESS
  for (int i = 0; i < carved.count; ++i) {  // between two arrays is at least as much room
    for (std::size_t at = 0; at < kRedzone; ++at) {
      if (arena[carved.items[i].end + at] != '\xff') return true;
    }
  }
#endif
  return false;
}

// One after the other, as EMULATED_ORDER says.
std::vector<std::int64_t> order_of(std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const char* const how = std::getenv("EMULATED_ORDER");
  if (!how || !*how || !std::strcmp(how, "forward")) return order;
  if (!std::strcmp(how, "reverse")) {
    std::reverse(order.begin(), order.end());
  } else {
    std::shuffle(order.begin(), order.end(), std::mt19937(static_cast<unsigned>(std::atoi(how))));
  }
  return order;
}

std::string waiting() {
  std::map<std::string, int> places;
  for (int t = 0; t < threads; ++t) {
    const Fiber& fiber = *fibers[t];
    ++places[fiber.state == State::done ? "returned" : fiber.site ? fiber.site : "?"];
  }
  std::string text;
  for (const auto& [site, count] : places) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " at " + site;
  }
  return text;
}

void resume(int t) {
  running = fibers[t];
  running_index = t;
  threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
  switch_fibers(host, *running);
  running = nullptr;
}

#ifdef EMULATED_THREAD
// Blocks of a batch are as many threads to ThreadSanitizer as they have together, so that nothing
// orders them. Only batches come one after the other.
constexpr std::size_t kThreadsAtOnce = 2048;
struct Thread {
  void* fiber;
  void* stack;  // of its own, or blocks would meet in one
};
std::vector<Thread> tsan_threads;
struct Place {
  char* arena;
  Clocks* clocks;
};
std::vector<Place> places;

std::size_t blocks_at_once(std::size_t all) {
  const std::size_t count = static_cast<std::size_t>(threads);
  const std::size_t blocks = std::min(all, std::max(std::size_t{1}, kThreadsAtOnce / count));
  while (tsan_threads.size() < blocks * count) {
    tsan_threads.push_back({__tsan_create_fiber(0), new_stack()});
  }
  while (places.size() < blocks) {
    places.push_back({static_cast<char*>(std::malloc(kArena)), new Clocks});
  }
  return blocks;
}

void take_place(std::size_t which) {
  arena = places[which].arena;
  clocks = places[which].clocks;
  for (int t = 0; t < threads; ++t) {
    fibers[t]->tsan = tsan_threads[which * threads + t].fiber;
    fibers[t]->stack = tsan_threads[which * threads + t].stack;
    reset(*fibers[t]);
  }
}
#endif

void begin_block() {
  POISON(arena, kArena);
  arena_used = statics = 0;
  variables.count = carved.count = 0;
  dynamic = carve(dynamic_bytes, 16);
  vote[0] = vote[1] = 0;
  for (int t = 0; t < threads; ++t) {
    Fiber& fiber = *fibers[t];
    fiber.state = State::ready;
    fiber.warp_turn = fiber.block_turn = fiber.group = 0;
    fiber.copies.count = 0;
  }
}

bool run_block(const std::vector<std::int64_t>& warps, const std::vector<std::int64_t>& lanes) {
  begin_block();
  while (error == cudaSuccess) {
    bool any_ready = false;
    for (const std::int64_t w : warps) {
      for (const std::int64_t l : lanes) {
        const int t = static_cast<int>(w * 32 + l);
        if (t < threads && fibers[t]->state == State::ready && error == cudaSuccess) {
          any_ready = true;
          resume(t);
        }
      }
    }
    if (any_ready) continue;
    int arrived = 0, done = 0;
    Site site = nullptr;
    bool together = true;
    for (int t = 0; t < threads; ++t) {
      const Fiber& fiber = *fibers[t];
      done += fiber.state == State::done;
      if (fiber.state != State::at_barrier) continue;
      ++arrived;
      together = together && (!site || !std::strcmp(site, fiber.site));
      site = fiber.site;
    }
    if (done == threads) {
      if (!strayed()) break;
      fail(cudaErrorLaunchFailure, "a write beside shared memory in block " + std::to_string(blockIdx.x));
      break;
    }
    if (arrived + done < threads || !together) {
      fail(cudaErrorLaunchFailure, "threads wait for each other in different places: " + waiting());
    }
    for (int t = 0; t < threads; ++t) {
      if (fibers[t]->state == State::at_barrier) fibers[t]->state = State::ready;
    }
  }
  if (error == cudaSuccess) return true;
  for (Fiber* fiber : fibers) reset(*fiber);  // what they were doing is left behind
  return false;
}

std::size_t most() {
  const char* const told = std::getenv("EMULATED_SHARED");
  return told && *told ? static_cast<std::size_t>(std::atoll(told)) : kH100;
}

}  // namespace

void run(dim3 grid, dim3 block, std::size_t shared, void (*kernel)(const void*), const void* of) {
  const std::lock_guard<std::mutex> lock(busy);
  // Without asking, static and dynamic memory share 48 KiB; with it, they share all there is.
  const std::size_t dynamic_most = allowed ? allowed : kFree, together = allowed ? most() : kFree;
  allowed = 0;
  const std::uint64_t count = std::uint64_t{block.x} * block.y * block.z;
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  if (count == 0 || count > 1024 || blocks == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
      grid.z > 65535) {
    return fail(cudaErrorInvalidConfiguration, "invalid configuration argument");
  }
  if (blocks > kBlocks) return fail(cudaErrorLaunchFailure, "more blocks than can be emulated");
  if (shared > dynamic_most) return fail(cudaErrorInvalidValue, "too much dynamic shared memory");
  const Listening listening;
  threads = static_cast<int>(count);
  while (fibers.size() < count) {
    fibers.push_back(new_fiber());
    reset(*fibers.back());
  }
  host.started = true;
  entry = kernel;
  entry_of = of;
  blockDim = block;
  gridDim = grid;
  dynamic_bytes = shared;
  const auto warps = order_of((threads + 31) / 32), lanes = order_of(32);
  const auto order = order_of(static_cast<std::int64_t>(blocks));
#ifdef EMULATED_THREAD
  host.tsan = __tsan_get_current_fiber();
  const std::size_t at_once = blocks_at_once(order.size());
#else
  static Clocks unused;
  clocks = &unused;
  if (!arena) arena = static_cast<char*>(std::malloc(kArena));
#endif
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::int64_t b = order[i];
    blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                static_cast<unsigned>(b / grid.x / grid.y)};
#ifdef EMULATED_THREAD
    if (i % at_once == 0) {
      ACQUIRE(&end_clock);
      RELEASE(&launch_clock);
    }
    take_place(i % at_once);
#endif
    if (!run_block(warps, lanes)) break;
    if (statics > kFree || statics + shared > together) {
      fail(cudaErrorInvalidValue, std::to_string(statics) + " + " + std::to_string(shared) +
                                      " bytes of shared memory are too many");
      break;
    }
  }
  ACQUIRE(&end_clock);
}

// Every fiber that waits here waits for all that have not returned.
void barrier(Site site) {
  Fiber& self = *running;
  char* const clock = &clocks->block[self.block_turn++ % 2];
  RELEASE(clock);
  self.state = State::at_barrier;
  self.site = site;
  switch_fibers(self, host);
  ACQUIRE(clock);
}

int barrier_or(Site site, int own) {
  const unsigned turn = running->block_turn % 2;
  if (own) vote[turn] = 1;
  barrier(site);
  const int result = vote[turn];
  barrier(site);
  vote[turn] = 0;
  return result;
}

namespace {

// Waits for the lanes of `mask`; returns which of the two slots they sent to.
unsigned meet(Site site, unsigned mask, std::uint64_t bits) {
  Fiber& self = *running;
  const int first = running_index / 32 * 32;
  const unsigned slot = self.warp_turn++ % 2;
  self.sent[slot] = bits;
  self.state = State::at_warp;
  self.site = site;
  self.mask = mask;
  if (!(mask >> (running_index % 32) & 1)) {
    fail(cudaErrorLaunchFailure, std::string("a lane outside of its own mask at ") + site);
  }
  bool all = true;
  for (int l = 0; l < 32; ++l) {
    if (!(mask >> l & 1)) continue;
    if (first + l >= threads) {
      fail(cudaErrorLaunchFailure, std::string("a mask of lanes that do not exist at ") + site);
      continue;
    }
    const Fiber& other = *fibers[first + l];
    all = all && other.state == State::at_warp && other.mask == mask &&
          !std::strcmp(other.site, site);
  }
  if (all) {
    for (int l = 0; l < 32; ++l) {
      if (mask >> l & 1 && first + l < threads) fibers[first + l]->state = State::ready;
    }
  }
  // The last to come goes on at once; others wait until it has come.
  if (self.state != State::ready) switch_fibers(self, host);
  return slot;
}

}  // namespace

void warp_barrier(Site site, unsigned mask) {
  char* const clock = &clocks->warp[running_index / 32][running->warp_turn % 2];
  RELEASE(clock);
  meet(site, mask, 0);
  ACQUIRE(clock);
}

std::uint64_t shuffle(Site site, unsigned mask, std::uint64_t bits, int from) {
  const int first = running_index / 32 * 32;
  const unsigned slot = meet(site, mask, bits);
  if (from < 0 || from > 31) return bits;
  return mask >> from & 1 ? fibers[first + from]->sent[slot] : ~std::uint64_t{0};
}

unsigned ballot(Site site, unsigned mask, int own) {
  const int first = running_index / 32 * 32;
  const unsigned slot = meet(site, mask, own != 0);
  unsigned result = 0;
  for (int l = 0; l < 32; ++l) {
    if (mask >> l & 1) result |= static_cast<unsigned>(fibers[first + l]->sent[slot]) << l;
  }
  return result;
}

void fence() {
  ACQUIRE(&fence_clock);
  RELEASE(&fence_clock);
}

void copy_later(void* to, const void* from, std::size_t bytes) {
  running->copies.add({to, from, bytes, running->group});
}

void commit_copies() { ++running->group; }

void wait_for_copies(unsigned groups_left) {
  auto& copies = running->copies;
  int kept = 0;
  for (int i = 0; i < copies.count; ++i) {
    const Copy copy = copies.items[i];
    if (copy.group + groups_left < running->group) {
      std::memcpy(copy.to, copy.from, copy.bytes);
    } else {
      copies.items[kept++] = copy;
    }
  }
  copies.count = kept;
}

void* shared_memory(const void* key, std::size_t bytes, std::size_t alignment) {
  for (int i = 0; i < variables.count; ++i) {
    if (variables.items[i].key == key) return variables.items[i].at;
  }
  statics += (bytes + 15) / 16 * 16;
  void* const at = carve(bytes, alignment);
  variables.add({key, at});
  return at;
}

void* dynamic_shared_memory() { return dynamic; }

cudaError_t last_error() {
  const cudaError_t latest = error;
  error = cudaSuccess;
  return latest;
}

cudaError_t allow_shared(int bytes) {
  if (bytes < 0 || static_cast<std::size_t>(bytes) > most()) return cudaErrorInvalidValue;
  allowed = static_cast<std::size_t>(bytes);
  return cudaSuccess;
}

cudaError_t set_device(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }

int most_shared() { return static_cast<int>(most()); }

const char* what(cudaError_t code) {
  switch (code) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    default: return message.empty() ? "invalid argument" : message.c_str();
  }
}

}  // namespace emulated
