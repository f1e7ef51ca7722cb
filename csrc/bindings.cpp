// The only file that knows Python. Kernels arrive as vaebias._core.cpu.<name>_<f32|f64> and
// vaebias._core.cuda.<...>: addresses and sizes in, nothing out. What a size or a dtype must be
// is checked where names are known, in vaebias/ops; here only what would be undefined behaviour.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "gram_solver.h"
#include "kernels.h"

namespace py = pybind11;

namespace {

// Pointers cross as integers (tensor.data_ptr()), everything else as it is.
template <class A>
using Crossing = std::conditional_t<std::is_pointer_v<A>, std::uintptr_t, A>;

template <class A>
A received(Crossing<A> value) {
  if constexpr (std::is_pointer_v<A>) {
    return reinterpret_cast<A>(value);
  } else {
    if constexpr (std::is_same_v<A, std::int64_t>) {
      if (value < 0) throw std::invalid_argument("negative size " + std::to_string(value));
    }
    return value;
  }
}

template <class... A>
void define(py::module_& module, const std::string& name, void (*kernel)(A...)) {
  module.def(
      name.c_str(), [kernel](Crossing<A>... arguments) { kernel(received<A>(arguments)...); },
      py::call_guard<py::gil_scoped_release>());
}

#define VAEBIAS_DEFINE(device, name)                                    \
  define(device##_module, #name "_f32", &vaebias::device::name<float>); \
  define(device##_module, #name "_f64", &vaebias::device::name<double>);

#define VAEBIAS_DEFINE_ALL(device)                   \
  VAEBIAS_DEFINE(device, sample_and_kl)              \
  VAEBIAS_DEFINE(device, sample_and_kl_backward)     \
  VAEBIAS_DEFINE(device, nll)                        \
  VAEBIAS_DEFINE(device, elbo)                       \
  VAEBIAS_DEFINE(device, laplace_kl)                 \
  VAEBIAS_DEFINE(device, total_correlation)          \
  VAEBIAS_DEFINE(device, total_correlation_backward) \
  VAEBIAS_DEFINE(device, local_variance)             \
  VAEBIAS_DEFINE(device, local_variance_backward)    \
  VAEBIAS_DEFINE(device, tangent_gram)               \
  VAEBIAS_DEFINE(device, tangent_gram_backward)      \
  VAEBIAS_DEFINE(device, gram_alignment)             \
  VAEBIAS_DEFINE(device, direction_cosines)

std::string instruction_set() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(VAEBIAS_NO_CLONES)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4 (AVX-512)";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3 (AVX2, FMA)";
  return "x86-64 (SSE2)";
#else
  return "the compiler's default for this machine";
#endif
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.attr("PIECE") = vaebias::kPiece;
  module.attr("MAX_LATENTS") = vaebias::kMaxLatents;
  module.attr("COMPILER") = VAEBIAS_COMPILER;
  module.attr("CUDA_ARCHITECTURES") = VAEBIAS_CUDA_ARCHITECTURES;
  module.attr("CUDA_COMPILER") = VAEBIAS_CUDA_COMPILER;
#ifdef _OPENMP
  module.attr("OPENMP") = true;
#else
  module.attr("OPENMP") = false;
#endif
  module.def("instruction_set", &instruction_set);

  py::module_ cpu_module = module.def_submodule("cpu");
  VAEBIAS_DEFINE_ALL(cpu)
#ifdef VAEBIAS_WITH_CUDA
  py::module_ cuda_module = module.def_submodule("cuda");
  VAEBIAS_DEFINE_ALL(cuda)
#endif
}
