import torch

torch.manual_seed(0)
encoder = torch.nn.TransformerEncoder(
    torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2
)
attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
x = torch.randn(2, 5, 8)
for model in (encoder, lambda x: attention(x, x, x)):
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            out = model(x)
            out = out[0] if isinstance(out, tuple) else out
            print(
                mode.__name__,
                out.double().sum().item().hex(),
                out.requires_grad,
                out.is_inference(),
            )
encoder.eval()
attention.eval()
with torch.inference_mode():
    print(encoder(x).double().sum().item().hex(), attention(x, x, x)[0].double().sum().item().hex())
    held = torch.ones(2)
mask = torch.tensor([[False] * 5, [False, False, True, True, True]])
with torch.no_grad():
    out = encoder(x, src_key_padding_mask=mask)
    print(out.shape, out.double().sum().item().hex())
    print(attention(x, x, x, need_weights=False)[0].double().sum().item().hex())
try:
    (torch.ones(2, requires_grad=True) * held).sum().backward()
except RuntimeError as error:
    print(error)
torch.nn.functional.scaled_dot_product_attention(x, x, x.requires_grad_()).sum().backward()
print(x.grad.double().sum().item().hex())
lstm = torch.nn.LSTM(8, 4, 2, batch_first=True)
print(lstm(x)[0].double().sum().item().hex())
