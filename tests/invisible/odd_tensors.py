import torch

torch.manual_seed(0)
embedding = torch.nn.Embedding(5, 3, sparse=True)
embedding(torch.tensor([1, 1, 4])).sum().backward()
print(embedding.weight.grad)
torch.optim.SparseAdam(embedding.parameters()).step()
i = torch.tensor([[0, 1], [1, 0]])
s = torch.sparse_coo_tensor(i, torch.tensor([2.0, 3.0]), (2, 2), requires_grad=True)
torch.sparse.mm(s, torch.ones(2, 2)).sum().backward()
print(s.grad.coalesce().values(), torch.eye(2).to_sparse_csr())
nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], requires_grad=True)
torch.nested.to_padded_tensor(nested, 0.0).sum().backward()
print(nested.grad.size(0), [t.shape for t in nested.grad.unbind()])
jagged = torch.nested.nested_tensor(
    [torch.ones(2, 3), torch.ones(1, 3)], layout=torch.jagged, requires_grad=True
)
(jagged * 2).values().sum().backward()
print(jagged.shape[0], jagged.grad is not None)
z = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True)
(z * z.conj()).real.sum().backward()
print(
    z.grad,
    z.resolve_conj().is_conj(),
    torch.view_as_real(z).shape,
    z.H.shape if z.dim() == 2 else z.mH if z.dim() > 1 else None,
)
m = torch.ones(2, device="meta", requires_grad=True)
(m * 2).sum().backward()
print(
    m.grad, torch.arange(3) // 2, torch.tensor([True]) & True, torch.ones(2, dtype=torch.int8) + 1
)
q = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
print(q, q.dequantize())
e = torch.empty(0, requires_grad=True)
e.sum().backward()
print(e.grad, torch.ones((), requires_grad=True).item(), torch.ones(1, 1).squeeze().ndim)
print(torch.ones(2).storage().size(), torch.ones(3).untyped_storage().nbytes())
u = torch.nn.parameter.UninitializedParameter()
print(u, torch.nn.Buffer(torch.ones(1)))
